"""What candidates are drawn from: numbers in [-1, 1] or one of K actions for each step, and how weights move it.

All are drawn from normal noise z, whose steps may depend on each other: an action of K is the one at the share of z in
the distribution. So noise that is held or coloured holds discrete actions, too.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers of an action, `K` actions.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor


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
