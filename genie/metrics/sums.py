"""Base class of metrics that are functions of sums."""

import torch
from torchmetrics import Metric


class AdditiveMetric(Metric):
    """A metric whose states are float64 sums, which add up over batches and ranks."""

    full_state_update = False

    def add_sums(self, *names: str, shape: tuple[int, ...] = ()) -> None:
        """Adds a state of that shape, zero at first, under each name."""
        for name in names:
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
