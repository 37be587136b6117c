"""All that a planner draws, as a function of each state's own seed: its plan is the same alone and among others.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers drawn for a step, `P` imagined futures.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive

VALUES, HOLDS = range(2)  # the streams of a search's draws


@dataclass(frozen=True)
class PlanNoise:
    """The draws of one search; `seeds` int64 [B]."""

    seeds: Tensor

    def normal(self, iteration: int, shape: tuple[int, int, int], hold: float, colour: float) -> Tensor:
        """float [B, N, H, A] for shape (N, H, A): every number is normal with variance 1; steps may depend on another.

        Args:
            hold: mean number of steps that a draw is held (geometric), 1: none is.
            colour: β of the power spectrum 1/f^β over the steps (iCEM, Pinneri et al. 2020), 0: white.
        """
        count, horizon, numbers = shape
        length = horizon if colour == 0 else 2 * horizon  # a coloured sequence is periodic: half of one is not
        u = self._uniform(iteration, VALUES, (count, length, numbers))
        z = torch.special.ndtri(u)
        if colour != 0:
            z = coloured(z, colour)[:, :, :horizon]
        if hold > 1:
            redrawn = self._uniform(iteration, HOLDS, (count, horizon, 1)) * hold < 1
            steps = torch.arange(horizon, device=z.device)[:, None]
            newest = torch.where(redrawn, steps, 0).cummax(dim=2).values
            z = z.gather(2, newest.expand_as(z))
        return z

    def futures(self, iteration: int, candidates: int, particles: int, common: bool) -> Tensor:
        """Seeds int64 [B, N, P] of the futures in which candidates are imagined; `common`: the same for all N."""
        start = derive(derive(self.seeds, Stream.PLAN_FUTURE), iteration)
        index = torch.arange(candidates * particles, device=start.device).view(candidates, particles)
        index = index[:1].expand(candidates, -1) if common else index
        return derive(start[:, None, None], index)

    def _uniform(self, iteration: int, stream: int, shape: tuple[int, int, int]) -> Tensor:
        """[B, *shape] inside (0, 1)."""
        count, horizon, numbers = shape
        noise = FrameNoise(self.seeds, torch.full_like(self.seeds, iteration))
        drawn = noise.uniform(stream, count * horizon * numbers) + 2.0**-25  # half of its finest step
        return drawn.view(len(self.seeds), count, horizon, numbers)


def coloured(white: Tensor, colour: float) -> Tensor:
    """Independent normal numbers [B, N, L, A] to a sequence over L with the power spectrum 1/f^colour and the same
    variance. The constant part is as strong as the slowest wave."""
    length = white.shape[2]
    frequencies = torch.fft.rfftfreq(length, device=white.device)
    frequencies[0] = frequencies[1]
    scale = frequencies ** (-colour / 2)
    times = torch.full_like(scale, 2.0)  # each wave but the constant one, and the fastest, is there twice
    times[0] = 1.0
    if length % 2 == 0:
        times[-1] = 1.0
    scale = scale / (scale.square() * times).sum().div(length).sqrt()
    return torch.fft.irfft(torch.fft.rfft(white, dim=2) * scale[:, None], n=length, dim=2)
