"""Worth of a plan: the rewards that a world imagines for it, and the value of its last state.

    Σ_k γ^k · c_1…c_k · (r_{k+1} - penalties - end · (1 - c_{k+1}) - uncertainty · u_{k+1})
        + γ^H · c_1…c_H · value(state_H)

c_k is the probability that the episode continues after step k: nothing counts after an end; u_k is how unsure the world
was of step k.

Dimension letters: `B` states, `N` candidates, `H` steps, `P` imagined futures, `A` numbers of an action, `R` rows of
imagination: all futures of all candidates of all states.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genie.world.protocol import State, World

Value = Callable[[State], Tensor | None]


class PlanObjective:
    """The worth of candidates in a world.

    Args:
        discount: γ of a step.
        effort: penalty of a step for the mean square of the numbers of its action.
        change: penalty for the mean squared change since the step before; of discrete actions, for any change.
        end: penalty for the probability that the step ends the episode.
        batch_size: rows that are imagined at once; only the memory depends on it.
        value: float [B] of states, the return after the last step. None, or a value that gives None: 0.
        uncertainty: penalty for each unit of `Step.uncertainty`, in a world that knows it.
    """

    def __init__(
        self,
        world: World,
        discount: float,
        effort: float,
        change: float,
        end: float,
        batch_size: int,
        value: Value | None,
        uncertainty: float = 0.0,
    ) -> None:
        self.world, self.discount, self.value = world, discount, value
        self.effort, self.change, self.end, self.batch_size = effort, change, end, batch_size
        self.uncertainty = uncertainty

    def __call__(self, state: State, actions: Tensor, futures: Tensor) -> tuple[Tensor, Tensor]:
        """The worth and the discounted rewards alone, float [B, N] each, means over the futures.

        `actions` [B, N, H] or [B, N, H, A] from the B rows of `state`; `futures` int64 [B, N, P] are their seeds.
        A candidate without a finite worth counts as the worst of its state.
        """
        shape, particles = futures.shape, futures.shape[2]
        plans, seeds = actions.flatten(0, 1), futures.flatten()
        parts = []
        for rows in torch.arange(seeds.numel()).split(self.batch_size):
            at = rows.to(plans.device)
            forks = state.select(rows // (shape[1] * particles)).reseeded(seeds[at])
            parts.append(self._imagine(forks, plans[at // particles]))
        worth, rewards = (torch.cat(column).view(shape).mean(2) for column in zip(*parts, strict=True))
        return finite(worth), finite(rewards)

    def _imagine(self, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Worth and rewards [R] of `actions` [R, H, …]."""
        weight = torch.ones(len(actions), device=actions.device)
        worth, rewards = torch.zeros_like(weight), torch.zeros_like(weight)
        for number, action in enumerate(actions.unbind(1)):
            state, step = self.world.step(state, action, decode=False)
            penalty = self._penalty(action, actions[:, max(0, number - 1)]) + self.end * (1 - step.continues)
            if self.uncertainty:
                penalty = penalty + self.uncertainty * step.uncertainty
            worth += weight * (step.reward - penalty)
            rewards += weight * step.reward
            weight = weight * self.discount * step.continues
        rest = None if self.value is None else self.value(state)
        if rest is not None:
            worth += weight * rest
        return worth, rewards

    def _penalty(self, action: Tensor, before: Tensor) -> Tensor | float:
        if not action.is_floating_point():
            return self.change * (action != before)
        return self.effort * action.square().mean(-1) + self.change * (action - before).square().mean(-1)


def finite(values: Tensor) -> Tensor:
    """[B, N] with the smallest finite number of the row (0 without one) in the place of NaN and infinities."""
    known = values.isfinite()
    worst = values.masked_fill(~known, torch.inf).amin(1, keepdim=True)
    return torch.where(known, values, torch.where(worst.isfinite(), worst, 0.0))
