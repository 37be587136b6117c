"""Distributions of action sequences, and the noise from which they are drawn.

All random numbers of a planner are a function of each state's own seed: its plan is the same alone and among others.
They are normal numbers z, whose steps may depend on each other. A discrete action is the quantile of its distribution
at the probability of z, so that held or coloured noise applies to discrete actions, too.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers drawn for a step, `K` actions, `P` imagined
futures.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive

VALUES, HOLDS = range(2)  # the streams of a search's draws


@dataclass(frozen=True)
class PlanNoise:
    """The draws of one search; `seeds` int64 [B]."""

    seeds: Tensor

    def normal(self, iteration: int, shape: tuple[int, int, int], hold: float, colour: float) -> Tensor:
        """float [B, N, H, A] for shape (N, H, A): normal numbers of variance 1, correlated over steps.

        Args:
            hold: mean number of steps that a draw is held (geometric), 1: no correlation.
            colour: β of the power spectrum 1/f^β over the steps (iCEM, Pinneri et al. 2020), 0: white.
        """
        count, horizon, numbers = shape
        length = horizon if colour == 0 else 2 * horizon  # a coloured sequence is periodic: half of one is not
        z = torch.special.ndtri(self._uniform(iteration, VALUES, (count, length, numbers)))
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
    """Independent normal numbers [B, N, L, A] to sequences over L with power spectrum 1/f^colour and the same variance.

    The constant part is as strong as the slowest wave.
    """
    length = white.shape[2]
    frequencies = torch.fft.rfftfreq(length, device=white.device)
    frequencies[0] = frequencies[1]
    scale = frequencies ** (-colour / 2)
    times = torch.full_like(scale, 2.0)  # of each frequency in the full spectrum, once of the constant and the fastest
    times[0] = 1.0
    if length % 2 == 0:
        times[-1] = 1.0
    scale = scale / (scale.square() * times).sum().div(length).sqrt()
    return torch.fft.irfft(torch.fft.rfft(white, dim=2) * scale[:, None], n=length, dim=2)


@dataclass(frozen=True)
class Gaussian:
    """Sequences of actions, one distribution for each of B states; `mean` and `std` [B, H, A].

    Draws are clipped to [-1, 1], not truncated: the best actions of many tasks are the limits, which a truncated
    distribution would hardly ever draw.
    """

    mean: Tensor
    std: Tensor

    def draw(self, z: Tensor) -> Tensor:
        """Candidates [B, N, H, A] for normal noise [B, N, H, A]."""
        return (self.mean[:, None] + self.std[:, None] * z).clamp(-1, 1)

    @property
    def mode(self) -> Tensor:
        """The likeliest sequence [B, H, A]."""
        return self.mean

    def fitted(self, candidates: Tensor, weights: Tensor) -> "Gaussian":
        """The distribution fitted to candidates with `weights` [B, N], which sum to 1."""
        share = weights[:, :, None, None]
        mean = (share * candidates).sum(1)
        return Gaussian(mean, (share * (candidates - mean[:, None]).square()).sum(1).sqrt())

    def mixed(self, other: "Gaussian", share: float) -> "Gaussian":
        """`share` of this one mixed with 1 - `share` of the other."""
        return Gaussian(share * self.mean + (1 - share) * other.mean, share * self.std + (1 - share) * other.std)

    def softened(self, min_std: float, smoothing: float) -> "Gaussian":
        """With a minimal spread: standard deviation `min_std`; of K actions, a share `smoothing` of uniform ones."""
        return Gaussian(self.mean, self.std.clamp_min(min_std))

    def as_wide_as(self, other: "Gaussian") -> "Gaussian":
        """With the spread of another one, where the spread is a separate parameter."""
        return Gaussian(self.mean, other.std)


@dataclass(frozen=True)
class Categorical:
    """`probabilities` [B, H, K] of discrete actions; draws [B, N, H] for noise [B, N, H, 1], else as `Gaussian`."""

    probabilities: Tensor

    def draw(self, z: Tensor) -> Tensor:
        ends = self.probabilities.cumsum(-1)[:, None]  # [B, 1, H, K]
        return (torch.special.ndtr(z) > ends).sum(-1).clamp_max(ends.shape[-1] - 1)

    @property
    def mode(self) -> Tensor:
        return self.probabilities.argmax(-1)

    def fitted(self, candidates: Tensor, weights: Tensor) -> "Categorical":
        chosen = F.one_hot(candidates, self.probabilities.shape[-1])  # [B, N, H, K]
        return Categorical((weights[:, :, None, None] * chosen).sum(1))

    def mixed(self, other: "Categorical", share: float) -> "Categorical":
        return Categorical(share * self.probabilities + (1 - share) * other.probabilities)

    def softened(self, min_std: float, smoothing: float) -> "Categorical":
        return Categorical((1 - smoothing) * self.probabilities + smoothing / self.probabilities.shape[-1])

    def as_wide_as(self, other: "Categorical") -> "Categorical":
        return self


@dataclass(frozen=True)
class Uniform:
    """Uniform numbers in [-1, 1], `shape` (B, H, A): only drawn from, by random shooting."""

    shape: tuple[int, int, int]

    def draw(self, z: Tensor) -> Tensor:
        return 2 * torch.special.ndtr(z) - 1


Distribution = Gaussian | Categorical | Uniform


def uniform(space: spaces.Discrete | spaces.Box, batch: int, horizon: int, device: torch.device) -> Distribution:
    if isinstance(space, spaces.Discrete):
        return Categorical(torch.full((batch, horizon, int(space.n)), 1 / int(space.n), device=device))
    return Uniform((batch, horizon, space.shape[0]))
