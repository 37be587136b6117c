"""Counted randomness: what step n draws is a function of (seed, n), never of what ran before."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from genie.errors import UserError

_MASK = 2**64 - 1


def mix(*values: int) -> int:
    """Hash of whole numbers to a seed in [0, 2**63): close inputs, unrelated seeds (splitmix64 finaliser)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = ((state ^ (int(value) & _MASK)) * 0xBF58476D1CE4E5B9) & _MASK
        state ^= state >> 29
        state = (state * 0x94D049BB133111EB) & _MASK
        state ^= state >> 32
    return state & (2**63 - 1)


class StepBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batch k of training, as a function of k alone: a list of (epoch, index) for this rank.

    Every epoch is a permutation of `num_samples` drawn from (seed, epoch); batch k takes the k-th group of
    `batch_size * world_size` of it, and the rank every `world_size`-th of these, so the global batch is the
    same for every number of ranks. `position()` gives the number of the next batch; it is asked whenever an
    iteration starts, so a resumed run goes on with the batch it would have seen, and nothing has to be
    saved. What does not fill a batch at the end of an epoch is left out (of this epoch's permutation only).

    `len` is the number of batches of an epoch, not of its rest: Lightning adds the position itself.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        rank: int,
        world_size: int,
        position: Callable[[], int],
        seed: int,
    ):
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.position = rank, world_size, position
        self.num_batches = num_samples // (batch_size * world_size)
        if self.num_batches == 0:
            raise UserError(
                f"{num_samples} clips do not fill a batch of {batch_size} on each of {world_size} devices: "
                "lower data.batch_size"
            )

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = divmod(self.position(), self.num_batches)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        order = torch.randperm(self.num_samples, generator=generator)  # not a list: of many videos it would take GB
        size = self.batch_size * self.world_size
        for batch in range(first, self.num_batches):
            mine = order[batch * size + self.rank : (batch + 1) * size : self.world_size]
            yield [(epoch, index) for index in mine.tolist()]
