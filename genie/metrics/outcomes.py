"""How well rewards and ends are predicted, beside the trivial predictions."""

import torch
from torch import Tensor
from torchmetrics import Metric

SUMS = ("reward_error", "reward_size", "steps", "rewarded", "found", "judged", "right", "ended", "foreseen")


class OutcomeMetrics(Metric):
    """Of predicted rewards and probabilities that the episode goes on:

    `reward_error`, and `reward_error_zero` of always predicting 0: mean absolute errors.
    `reward_recall`: of the steps with a reward, the share in which the predicted one is nearer to it than to 0.
    `continue_accuracy`: share of steps in which an end, or none, was rightly the more likely, and
    `continue_accuracy_majority` of always predicting that it goes on. `terminal_recall`: share of ends foreseen.

    What nothing was seen of is left out.
    """

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in SUMS:
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, reward: Tensor, goes_on: Tensor, rewards: Tensor | None = None, terminals: Tensor | None = None
    ) -> None:
        """Predictions float [...], and what came true: `rewards` float [...], `terminals` bool [...]."""
        if rewards is not None:
            error, size = (reward - rewards).abs(), rewards.abs()
            self.reward_error += error.sum()
            self.reward_size += size.sum()
            self.steps += error.numel()
            self.rewarded += (size > 0).sum()
            self.found += ((size > 0) & (error < size / 2)).sum()
        if terminals is not None:
            foreseen = goes_on < 0.5
            self.judged += terminals.numel()
            self.right += (foreseen == terminals).sum()
            self.ended += terminals.sum()
            self.foreseen += (foreseen & terminals).sum()

    def compute(self) -> dict[str, Tensor]:
        """The figures, by name."""
        shares = {
            "reward_error": (self.reward_error, self.steps),
            "reward_error_zero": (self.reward_size, self.steps),
            "reward_recall": (self.found, self.rewarded),
            "continue_accuracy": (self.right, self.judged),
            "continue_accuracy_majority": (self.judged - self.ended, self.judged),
            "terminal_recall": (self.foreseen, self.ended),
        }
        return {name: (part / whole).float() for name, (part, whole) in shares.items() if whole > 0}
