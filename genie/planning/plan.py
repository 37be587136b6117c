"""What a planner gives: a plan is a value, from which the next one may begin.

Dimension letters: `B` states, `H` steps of a plan, `M` candidates that are kept, `A` numbers of an action.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """Actions for B states.

    Attributes:
        actions: int64 [B, H], or float [B, H, A] in [-1, 1]; the first ones are to be taken now.
        value: float [B], what they are worth by the objective, with its penalties and the value of the last state.
        imagined_return: float [B], the discounted rewards alone.
        candidates: [B, M, H] or [B, M, H, A], the best ones of the search, best first; the plan is the first.
        num_candidates: how many were imagined for each state; with a time budget fewer than were asked for.
        seconds: that the search took.
        age: how many actions of the plan that the search gave are done already.
    """

    actions: Tensor
    value: Tensor
    imagined_return: Tensor
    candidates: Tensor
    num_candidates: int
    seconds: float
    age: int = 0

    @property
    def first(self) -> Tensor:
        """The actions [B] or [B, A] to take now."""
        return self.actions[:, 0]

    def later(self) -> "Plan":
        """The same plan one step on: the last action is repeated at its end."""
        return replace(self, actions=torch.cat([self.actions[:, 1:], self.actions[:, -1:]], dim=1), age=self.age + 1)

    def select(self, index: Tensor | list[int]) -> "Plan":
        """The plans of the rows `index`."""
        at = torch.as_tensor(index, device=self.actions.device)
        rows = {name: getattr(self, name)[at] for name in ("actions", "value", "imagined_return", "candidates")}
        return replace(self, **rows)
