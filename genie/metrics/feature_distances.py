"""How far apart are two sets of features? The Fréchet and the kernel distance, and the floor that real data have.

Dimension letters: `N M` videos, `D` features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import replacing


@dataclass
class Statistics:
    """What the Fréchet distance knows of features, as sums: those of parts add up to those of the whole.

    `count` [], `sum` [D], `outer` [D, D] (the sum of x xᵀ), all float64.
    """

    count: Tensor
    sum: Tensor
    outer: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Statistics":
        """Of features [N, D]."""
        x = features.double()
        return cls(torch.tensor(float(len(x)), dtype=torch.float64, device=x.device), x.sum(0), x.T @ x)

    def to(self, device: torch.device) -> "Statistics":
        """The same on another device."""
        return Statistics(**{name: value.to(device) for name, value in vars(self).items()})

    @property
    def mean(self) -> Tensor:
        """[D]."""
        return self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        """[D, D], over N - 1."""
        return (self.outer - self.count * self.mean.outer(self.mean)) / (self.count - 1)

    def save(self, path: str | Path, protocol: dict[str, Any]) -> None:
        """Writes a safetensors file that carries the protocol of the features (`VideoFeatures.protocol`)."""
        tensors = {name: value.cpu() for name, value in vars(self).items()}
        with replacing(path) as file:
            file.write(safetensors.torch.save(tensors, {key: str(value) for key, value in protocol.items()}))

    @classmethod
    def load(cls, path: str | Path, protocol: dict[str, Any]) -> "Statistics":
        """UserError where the file is missing or damaged, or its features were made with another protocol."""
        try:
            with safe_open(path, framework="pt") as file:
                there = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("count", "sum", "outer")}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is no file of FVD statistics ({error})") from error
        for key, value in protocol.items():
            if there.get(key) != str(value):
                raise UserError(f"{path} was made with {key}={there.get(key)}, not {value}: make it anew")
        return cls(**tensors)


def frechet_distance(real: Tensor | Statistics, generated: Tensor | Statistics) -> Tensor:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) of two sets of features [N, D] or their statistics; float64, at least 0.

    Both sets are taken for normal distributions. The trace of the root is the sum of the singular values of
    Σ₁^½ Σ₂^½: exact for singular covariances too, which those of fewer videos than features are. NaN where a side has
    fewer than two videos.
    """
    real, generated = (x if isinstance(x, Statistics) else Statistics.of(x) for x in (real, generated))
    if min(real.count, generated.count) < 2:
        return torch.full((), torch.nan, dtype=torch.float64, device=real.sum.device)
    first, second = real.covariance, generated.covariance
    root = torch.linalg.svdvals(square_root(first) @ square_root(second)).sum()
    squared = (real.mean - generated.mean).square().sum()
    return (squared + first.trace() + second.trace() - 2 * root).clamp_min(0)


def square_root(covariance: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix; eigenvalues that are rounding alone count as 0."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    smallest = values[-1] * len(values) * torch.finfo(values.dtype).eps
    values = torch.where(values > smallest, values, 0)
    return (vectors * values.sqrt()) @ vectors.T


def kernel_distance(real: Tensor, generated: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of features [N, D] and [M, D] with the kernel (x·y / D + 1)³; float64.

    Unbiased: 0 on average for samples of one distribution, whatever N and M, so single values may be below 0.
    Source: Bińkowski et al. 2018, arXiv 1801.01401, eq. 4. NaN where a side has fewer than two videos.
    """
    first, second = real.double(), generated.double()
    if min(len(first), len(second)) < 2:
        return torch.full((), torch.nan, dtype=torch.float64, device=real.device)
    return mean_of_pairs(first) + mean_of_pairs(second) - 2 * kernel(first, second).mean()


def mean_of_pairs(x: Tensor) -> Tensor:
    """The kernel's mean over all pairs of two different rows of x [N, D]."""
    values = kernel(x, x)
    return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """[N, D] and [M, D] → [N, M]."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def real_floor(features: Tensor, size: int, distance: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> Tensor:
    """Distance of two random sets of `size` real videos that share none: what a perfect model would score.

    features [N, D] with N ≥ 2 · size; distance: `frechet_distance` or `kernel_distance`.
    Raises ValueError where there are too few.
    """
    if len(features) < 2 * size:
        raise ValueError(f"two sets of {size} videos need {2 * size}, there are {len(features)}")
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    return distance(features[order[:size]], features[order[size : 2 * size]])
