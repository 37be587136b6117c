"""Counted noise: what is drawn for a token is a function of its world's seed, its frame and the pass alone.

A generator remembers, so what it draws for one world depends on which others are drawn with it and before. Here
nothing is remembered: a world gives the same video alone or in a batch, cached or not, replayed or forked.

Dimension letters: `B` batch, `S` tokens of one frame.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, whose products wrap around
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
STREAMS = ("token", "order")


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
