"""Counter-based random numbers, functions of a seed and of a purpose instead of a generator's state.

A stateful generator's draws for one world depend on the worlds drawn with and before it. Without state a training
resumes exactly, and a world gives the same video alone or in a batch, cached or not, replayed or forked.

Dimension letters: `B` batch.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, whose products wrap around
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
STREAMS = ("token", "order")
MASK = 2**64 - 1


class Stream(IntEnum):
    """Purposes of numbers drawn from the same seed: the streams are independent of each other.

    They start at 2**32, beyond all counts that seeds are derived from (frames, decisions, epochs, clips, episodes). New
    ones get new numbers: changing a number changes the draws.
    """

    TRAINING_STEP = 2**32
    VALIDATION_STEP = 2**32 + 1
    AUGMENTATION = 2**32 + 2
    RARE_CLIP = 2**32 + 3
    MASKED_TOKEN = 2**32 + 4
    OWN_DRAW = 2**32 + 5
    KEPT_PLACE = 2**32 + 6
    UNSEEN_ACTION = 2**32 + 7
    MOVED_SCENE = 2**32 + 8
    LABEL_NOISE = 2**32 + 9
    RATED_PAIR = 2**32 + 10
    IMAGINATION_START = 2**32 + 11
    POLICY_ACTION = 2**32 + 12
    EXPLORATION = 2**32 + 13
    ENSEMBLE_MEMBER = 2**32 + 14
    PLAN_FUTURE = 2**32 + 15
    RANDOM_AGENT = 2**32 + 16
    RANDOM_ROLLOUT = 2**32 + 17
    HELD_ACTION = 2**32 + 18
    LONG_ROLLOUT = 2**32 + 19
    FURTHER_GAME = 2**32 + 20
    RECORDED_EPISODE = 2**32 + 21
    RECORDING_POLICY = 2**32 + 22


def fold_in(*values: int) -> int:
    """A seed in [0, 2**63) from whole numbers, among them a `Stream`: close inputs, unrelated seeds."""
    state = 0
    for value in values:
        state = ((state ^ (int(value) & MASK)) + GOLDEN) & MASK
        state = ((state ^ (state >> 30)) * FIRST) & MASK
        state = ((state ^ (state >> 27)) * SECOND) & MASK
        state ^= state >> 31
    return state & (2**63 - 1)


def scramble(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 of any shape: close inputs, unrelated outputs."""
    x = x + GOLDEN
    x = (x ^ _shift(x, 30)) * FIRST
    x = (x ^ _shift(x, 27)) * SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: `>>` of int64 would repeat the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def derive(seeds: Tensor, number: Tensor | int) -> Tensor:
    """Another seed for each pair of a seed and a number, int64."""
    return scramble(scramble(seeds) ^ number)


def row_seeds(seed: int | Tensor, batch: int, device: torch.device) -> Tensor:
    """int64 [B]: a different seed for each row of a batch, or the given ones."""
    if isinstance(seed, Tensor):
        return seed.to(device=device, dtype=torch.int64).expand(batch).clone()
    return derive(torch.full((batch,), seed, dtype=torch.int64), torch.arange(batch)).to(device)


@dataclass(frozen=True)
class FrameNoise:
    """The draws for one frame of each world: `seeds` int64 [B] of the worlds, `ages` int64 [B] of the frame in them."""

    seeds: Tensor
    ages: Tensor

    def uniform(self, number: int, count: int, stream: str = "token") -> Tensor:
        """float32 [B, count] in [0, 1) for the pass `number`."""
        frame = derive(self.seeds, self.ages)
        start = derive(frame, number * len(STREAMS) + STREAMS.index(stream))
        places = torch.arange(count, device=start.device)
        bits = _shift(derive(start[:, None], places), 40)  # 24 bits: all that a float32 below 1 holds
        return bits.to(torch.float32) * 2.0**-24
