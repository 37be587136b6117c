"""The figures of an optimizer step: means over its batches and over the ranks."""

import torch
from torch import Tensor

from genie.common.ranks import mean_over_ranks


class StepFigures:
    """Collects the figures of the batches that make up a step; with one batch and one process they stay as they are."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Tensor]] = []

    def add(self, figures: dict[str, Tensor]) -> None:
        """The figures of one more batch, scalars by name."""
        self.batches.append({name: value.detach() for name, value in figures.items()})

    def take(self) -> dict[str, Tensor]:
        """The figures of the step; the next one begins. All ranks have to call it."""
        batches, self.batches = self.batches, []
        figures = batches[0]
        if len(batches) > 1:
            figures = {name: torch.stack([batch[name] for batch in batches]).mean() for name in figures}
        return mean_over_ranks(figures)
