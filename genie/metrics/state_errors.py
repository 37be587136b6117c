"""Error of imagined states against the horizon, beside that of expecting no change.

Dimension letters: `B` batch, `h` horizon, `n` numbers of a state.
"""

import torch
from torch import Tensor
from torchmetrics import Metric


class StateErrors(Metric):
    """Root mean squared error of each of `horizon` steps, over all clips and numbers of a state, in standard deviations
    of the data."""

    full_state_update = False

    def __init__(self, horizon: int) -> None:
        super().__init__()
        for name in ("imagined", "unchanged", "count"):
            self.add_state(name, torch.zeros(horizon, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, imagined: Tensor, given: Tensor, truth: Tensor) -> None:
        """Normalised states: `imagined` and `truth` [B, h, n], and `given` [B, n], the last that was seen."""
        self.imagined += (imagined - truth).square().mean(-1).sum(0)
        self.unchanged += (given[:, None] - truth).square().mean(-1).sum(0)
        self.count += len(truth)

    def compute(self) -> dict[str, Tensor]:
        """[h] of the imagined states ("") and of no change ("unchanged"); NaN where nothing was counted."""
        errors = {"": self.imagined, "unchanged": self.unchanged}
        return {name: (total / self.count).sqrt().float() for name, total in errors.items()}
