"""Now and then another action than the chosen one: a policy that plays to learn must see what it would not do.

Dimension letters: `B` states, `A` actions, or numbers of one.
"""

from collections.abc import Callable

import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive, row_seeds
from genie.world.protocol import State

Choose = Callable[[State, int | Tensor], Tensor]


def exploring(choose: Choose, space: spaces.Discrete | spaces.Box, share: float) -> Choose:
    """`choose`, but a uniformly drawn action of `space` in the `share` of decisions: a function of the seed, too."""

    def explore(state: State, seed: int | Tensor = 0) -> Tensor:
        chosen = choose(state, seed)
        seeds = derive(row_seeds(seed, len(state), chosen.device), Stream.EXPLORATION)
        noise = FrameNoise(seeds, torch.zeros_like(seeds))
        size = 1 if chosen.ndim == 1 else chosen.shape[1]
        drawn = noise.uniform(0, size)
        other = (drawn[:, 0] * space.n).long() if isinstance(space, spaces.Discrete) else 2 * drawn - 1
        away = noise.uniform(1, 1) < share  # [B, 1]
        return torch.where(away[:, 0] if chosen.ndim == 1 else away, other.to(chosen), chosen)

    return explore
