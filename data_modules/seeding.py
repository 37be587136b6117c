"""Order of training batches: batch n is a function of (seed, n), never of what was drawn before."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from genie.common.errors import UserError
from genie.common.random import fold_in


class Place(NamedTuple):
    """Position of a run in its data: batch number `batch` begins after `offset` samples of epoch `epoch`."""

    epoch: int = 0
    offset: int = 0
    batch: int = 0


START = Place()


def check_step(num_samples: int, batch_size: int, world_size: int, accumulate: int) -> None:
    """Raises UserError where the samples do not fill one optimizer step."""
    if num_samples < batch_size * world_size * accumulate:
        batches = f" and {accumulate} batches a step" if accumulate > 1 else ""
        raise UserError(
            f"{num_samples} clips do not fill a batch of {batch_size} on each of {world_size} devices{batches}: "
            "lower data.batch_size"
        )


class StepBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of one rank, each a list of (epoch, index) and a function of its number alone.

    Every epoch is a permutation of `num_samples` drawn from (seed, epoch); each batch takes the next
    `batch_size * world_size` of it, and the rank every `world_size`-th of these, so the global batch is the
    same for every number of ranks. Samples at the end of an epoch that do not fill a step of `accumulate` batches are
    left out. `position()` gives the number of the next batch, at the start of each iteration.

    `start`: where a run with another batch size, number of ranks or batches per step stopped; this run resumes with the
    next sample. `endless=False`: iterations end with an epoch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        rank: int,
        world_size: int,
        position: Callable[[], int],
        seed: int,
        accumulate: int = 1,
        start: Place = START,
        endless: bool = True,
    ):
        check_step(num_samples, batch_size, world_size, accumulate)
        self.num_samples, self.seed, self.start = num_samples, seed, start
        self.rank, self.world_size, self.position = rank, world_size, position
        self.samples = batch_size * world_size  # of a batch
        self.accumulate, self.endless = accumulate, endless

    def __len__(self) -> int:
        """More batches than any run takes: without a length, Lightning reads one batch ahead."""
        return 2**40 if self.endless else self._batches(0)

    def place(self, batch: int) -> Place:
        """The position of batch number `batch`."""
        epoch, offset, first = self.start
        left = batch - first
        if left >= (rest := self._batches(offset)):
            (passes, left), offset = divmod(left - rest, self._batches(0)), 0
            epoch += 1 + passes
        return Place(epoch, offset + left * self.samples, batch)

    def _batches(self, offset: int) -> int:
        """Number of batches of an epoch from the sample `offset` on."""
        return (self.num_samples - offset) // (self.samples * self.accumulate) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, offset, _ = self.place(self.position())
        while True:
            generator = torch.Generator().manual_seed(fold_in(self.seed, epoch))
            order = torch.randperm(self.num_samples, generator=generator)  # not a list: of many videos it would take GB
            for _ in range(self._batches(offset)):
                mine = order[offset + self.rank : offset + self.samples : self.world_size]
                yield [(epoch, index) for index in mine.tolist()]
                offset += self.samples
            if not self.endless:
                return
            epoch, offset = epoch + 1, 0
