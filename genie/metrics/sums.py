"""Base class of metrics that are functions of sums."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torchmetrics import Metric


class AdditiveMetric(Metric):
    """A metric whose states are float64 sums, which add up over batches and ranks.

    Its results keep their shapes: [O] of one object is [1], where a metric of torchmetrics answers with a scalar.
    """

    full_state_update = False

    def add_sums(self, *names: str, shape: tuple[int, ...] = ()) -> None:
        """Adds a state of that shape, zero at first, under each name."""
        for name in names:
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _wrap_compute(self, compute: Callable) -> Callable:
        def hidden(*args: Any, **options: Any) -> Callable[[], Any]:
            # a copy, as torchmetrics makes one; inside of a function it finds no tensor to squeeze
            value = copy.deepcopy(compute(*args, **options))
            return lambda: value

        wrapped = super()._wrap_compute(functools.wraps(compute)(hidden))

        @functools.wraps(compute)
        def shown(*args: Any, **options: Any) -> Any:
            return wrapped(*args, **options)()

        return shown
