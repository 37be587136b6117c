"""Distributions of action sequences, and their noise.

All that a planner draws, as a function of each state's own seed: its plan is the same alone and among others.

What candidates are drawn from: numbers in [-1, 1] or one of K actions for each step, and how weights move it.

All are drawn from normal noise z, whose steps may depend on each other: an action of K is the one at the share of z in
the distribution. So noise that is held or coloured holds discrete actions, too.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers drawn for a step, `P` imagined futures.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers of an action, `K` actions.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
import torch.nn.functional as F
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


class Distribution(Protocol):
    """Of action sequences, one for each of B states."""

    def draw(self, z: Tensor) -> Tensor:
        """Candidates [B, N, H] or [B, N, H, A] for normal noise [B, N, H, A], A = 1 for discrete actions."""
        ...

    @property
    def mode(self) -> Tensor:
        """The likeliest sequence [B, H] or [B, H, A]."""
        ...

    def fitted(self, candidates: Tensor, weights: Tensor) -> Self:
        """To candidates with `weights` [B, N], which sum to 1."""
        ...

    def mixed(self, other: Self, share: float) -> Self:
        """`share` of this one and the rest of the other."""
        ...

    def softened(self, min_std: float, smoothing: float) -> Self:
        """Never so narrow that nothing else is tried: `min_std` of numbers, a share `smoothing` of any of K actions."""
        ...

    def as_wide_as(self, other: Self) -> Self:
        """With the spread of another one, where the spread is a parameter of its own."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """`mean` and `std` [B, H, A]. What is drawn beyond -1 or 1 becomes the limit itself: the best actions of many tasks
    are there, and a distribution that is cut off would hardly ever draw them."""

    mean: Tensor
    std: Tensor

    def draw(self, z: Tensor) -> Tensor:
        return (self.mean[:, None] + self.std[:, None] * z).clamp(-1, 1)

    @property
    def mode(self) -> Tensor:
        return self.mean

    def fitted(self, candidates: Tensor, weights: Tensor) -> "Gaussian":
        share = weights[:, :, None, None]
        mean = (share * candidates).sum(1)
        return Gaussian(mean, (share * (candidates - mean[:, None]).square()).sum(1).sqrt())

    def mixed(self, other: "Gaussian", share: float) -> "Gaussian":
        return Gaussian(share * self.mean + (1 - share) * other.mean, share * self.std + (1 - share) * other.std)

    def softened(self, min_std: float, smoothing: float) -> "Gaussian":
        return Gaussian(self.mean, self.std.clamp_min(min_std))

    def as_wide_as(self, other: "Gaussian") -> "Gaussian":
        return Gaussian(self.mean, other.std)


@dataclass(frozen=True)
class Categorical:
    """`probabilities` [B, H, K]."""

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
    """Every number in [-1, 1] alike, `shape` (B, H, A): what random shooting draws from, and nothing moves it."""

    shape: tuple[int, int, int]

    def draw(self, z: Tensor) -> Tensor:
        return 2 * torch.special.ndtr(z) - 1


def uniform(space, batch: int, horizon: int, device: torch.device) -> Uniform | Categorical:
    """Every sequence of actions of a space alike."""
    if hasattr(space, "n"):
        return Categorical(torch.full((batch, horizon, int(space.n)), 1 / int(space.n), device=device))
    return Uniform((batch, horizon, space.shape[0]))
