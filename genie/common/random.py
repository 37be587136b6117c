"""Counter-based random numbers.

Counter-based random numbers: what is drawn is a function of a seed and of what it is drawn for, never of what was
drawn before.

A generator remembers, so what it draws for one world depends on which others are drawn with it and before. Here
nothing is remembered: a training resumes exactly, and a world gives the same video alone or in a batch, cached or not,
replayed or forked.

Dimension letters: `B` batch, `S` tokens of one frame.
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
    """What numbers are drawn for, from the same seed: each stream is independent of the others.

    They begin at 2**32, beyond all counts that seeds are derived for (frames, decisions, epochs, clips, episodes), so
    that no count is a stream. New ones get new numbers: another number is another draw.
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
    """A seed in [0, 2**63) of whole numbers, among them a `Stream`: close inputs, unrelated seeds.

    `mix(seed, number)` is what `derive` gives, without its sign.
    """
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
    """To the right, with zeros from the left: int64 would repeat its sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def derive(seeds: Tensor, number: Tensor | int) -> Tensor:
    """Another seed for each pair of a seed and a number, int64."""
    return scramble(scramble(seeds) ^ number)


def row_seeds(seed: int | Tensor, batch: int, device: torch.device) -> Tensor:
    """int64 [B]: a different one for each row of a batch, or those that are given."""
    if isinstance(seed, Tensor):
        return seed.to(device=device, dtype=torch.int64).expand(batch).clone()
    return derive(torch.full((batch,), seed, dtype=torch.int64), torch.arange(batch)).to(device)


@dataclass(frozen=True)
class FrameNoise:
    """The draws for one frame of each world: `seeds` int64 [B] of the worlds, `ages` int64 [B] of the frame in each."""

    seeds: Tensor
    ages: Tensor

    def uniform(self, number: int, count: int, stream: str = "token") -> Tensor:
        """float32 [B, count] in [0, 1) for the pass `number`."""
        frame = derive(self.seeds, self.ages)
        start = derive(frame, number * len(STREAMS) + STREAMS.index(stream))
        places = torch.arange(count, device=start.device)
        bits = _shift(derive(start[:, None], places), 40)  # 24 of them: all that a float32 below 1 holds
        return bits.to(torch.float32) * 2.0**-24
