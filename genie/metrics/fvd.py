"""Fréchet and kernel video distance (FVD, KVD) of generated and real videos, with their floor.

Source: Unterthiner et al. 2018, "Towards Accurate Generative Models of Video", arXiv 1812.01717: the distance of the
sets of features that the 400 logits of I3D are for every video. `docs/fvd.md` explains the interpretation and limits.

Dimension letters: `B N M` videos, `T` frames, `C H W` channels and pixels, `D` features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from genie.common.errors import UserError
from genie.common.files import replacing
from genie.metrics.sums import AdditiveMetric
from genie.metrics.video_features import VideoFeatures

FEW_VIDEOS = 256  # on fewer, the Fréchet distance of two real sets is as large as the differences of interest


@dataclass
class Statistics:
    """Additive statistics of features for the Fréchet distance: `count` [], `sum` [D], `outer` [D, D] (the sum of x
    xᵀ), all float64."""

    count: Tensor
    sum: Tensor
    outer: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Statistics":
        """Statistics of features [N, D]."""
        x = features.double()
        return cls(torch.tensor(float(len(x)), dtype=torch.float64, device=x.device), x.sum(0), x.T @ x)

    def to(self, device: torch.device) -> "Statistics":
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
        """Writes a safetensors file with the protocol of the features (`VideoFeatures.protocol`)."""
        tensors = {name: value.cpu() for name, value in vars(self).items()}
        with replacing(path) as file:
            file.write(safetensors.torch.save(tensors, {key: str(value) for key, value in protocol.items()}))

    @classmethod
    def load(cls, path: str | Path, protocol: dict[str, Any]) -> "Statistics":
        """UserError where the file is missing or damaged, or has another protocol."""
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
    The trace of the root is the sum of the singular values of Σ₁^½ Σ₂^½: exact also for the singular covariances of
    fewer videos than features. NaN where a side has fewer than two videos."""
    real, generated = (x if isinstance(x, Statistics) else Statistics.of(x) for x in (real, generated))
    if min(real.count, generated.count) < 2:
        return torch.full((), torch.nan, dtype=torch.float64, device=real.sum.device)
    first, second = real.covariance, generated.covariance
    root = torch.linalg.svdvals(square_root(first) @ square_root(second)).sum()
    squared = (real.mean - generated.mean).square().sum()
    return (squared + first.trace() + second.trace() - 2 * root).clamp_min(0)


def square_root(covariance: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix; eigenvalues of the size of rounding count as 0."""
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    smallest = values[-1] * len(values) * torch.finfo(values.dtype).eps
    values = torch.where(values > smallest, values, 0)
    return (vectors * values.sqrt()) @ vectors.T


def kernel_distance(real: Tensor, generated: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of features [N, D] and [M, D] with the kernel (x·y / D + 1)³; float64. Unbiased:
    0 on average for samples of one distribution, so single values may be below 0. Source: Bińkowski et al. 2018, arXiv
    1801.01401, eq. 4. NaN where a side has fewer than two videos."""
    first, second = real.double(), generated.double()
    if min(len(first), len(second)) < 2:
        return torch.full((), torch.nan, dtype=torch.float64, device=real.device)
    return mean_of_pairs(first) + mean_of_pairs(second) - 2 * kernel(first, second).mean()


def mean_of_pairs(x: Tensor) -> Tensor:
    """Mean of the kernel over all pairs of different rows of x [N, D]."""
    values = kernel(x, x)
    return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """[N, D] and [M, D] → [N, M]."""
    return (first @ second.T / first.shape[1] + 1) ** 3


def real_floor(features: Tensor, size: int, distance: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> Tensor:
    """Distance of two disjoint random sets of `size` real videos: the score of a perfect model. features [N, D],
    ValueError where N < 2 · size; distance: `frechet_distance` or `kernel_distance`."""
    if len(features) < 2 * size:
        raise ValueError(f"two sets of {size} videos need {2 * size}, there are {len(features)}")
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    return distance(features[order[:size]], features[order[size : 2 * size]])


class VideoDistance(AdditiveMetric):
    """Common part of both distances.

    Args:
        features: an extractor, to share it between metrics; without it, one with `settings`.
        settings: arguments of `VideoFeatures`: detector, num_frames, resize, batch_size, options.
    """

    higher_is_better = False
    prefix: str

    def __init__(self, features: VideoFeatures | None = None, **settings: Any) -> None:
        super().__init__()
        if features is not None and settings:
            raise ValueError(f"features are given: {', '.join(settings)} cannot be set beside them")
        self.features = features or VideoFeatures(**settings)
        self.counts: tuple[int, int] | None = None  # real and generated videos of the last `compute`

    def update(self, videos: Tensor, real: bool) -> None:
        """Adds real or generated videos [B, T, C, H, W], uint8 or floats in [0, 1], or their features [B, D], as
        `self.features(videos)`, to share one pass of the network between metrics. Raises ValueError for videos of
        another length or range."""
        features = self.features(videos) if videos.dim() != 2 else videos
        if features.shape[1] != self.features.dim:
            raise ValueError(f"features of width {features.shape[1]}: {self.features.name} has {self.features.dim}")
        self._add(features.detach(), real)

    def _add(self, features: Tensor, real: bool) -> None:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Such as `fvd/i3d_16f_256v`: detector, frames, videos on each side of the last `compute` (`_512r256g` where
        they differ); RuntimeError before it."""
        real, generated = (self.protocol[f"videos_{side}"] for side in ("real", "generated"))
        videos = f"{real}v" if real == generated else f"{real}r{generated}g"
        return f"{self.prefix}/{self.features.name}_{videos}"

    @property
    def protocol(self) -> dict[str, Any]:
        """All that the last `compute` depends on: numbers of one protocol are comparable."""
        if self.counts is None:
            raise RuntimeError("videos are counted by compute(): call it first")
        return {**self.features.protocol, "videos_real": self.counts[0], "videos_generated": self.counts[1]}


class FrechetVideoDistance(VideoDistance):
    """FVD, lower is better; it falls with the number of videos, so compare only numbers with the same name.

    Memory is constant: only sums are kept.

    Args:
        reference: statistics of the real videos, or the file they were saved to. No real ones are added then.

    Raises UserError where the file was made with another protocol.
    """

    prefix = "fvd"

    def __init__(
        self, features: VideoFeatures | None = None, reference: Statistics | str | Path | None = None, **settings: Any
    ) -> None:
        super().__init__(features, **settings)
        if isinstance(reference, str | Path):
            reference = Statistics.load(reference, self.features.protocol)
        self.reference = reference
        self.warned = False
        for side in ("real", "generated"):
            for axes, part in enumerate(("count", "sum", "outer")):
                self.add_sums(f"{side}_{part}", shape=(self.features.dim,) * axes)

    def _add(self, features: Tensor, real: bool) -> None:
        if real and self.reference is not None:
            raise ValueError("the real videos are given by `reference`: add generated ones only")
        for part, value in vars(Statistics.of(features)).items():
            getattr(self, f"{'real' if real else 'generated'}_{part}").add_(value)

    def statistics(self, real: bool) -> Statistics:
        """Of the videos so far: `fvd.statistics(real=True).save(path, fvd.features.protocol)` saves a data set's. Of
        this process; of all processes inside `with fvd.sync_context():`."""
        if real and self.reference is not None:
            return self.reference
        side = "real" if real else "generated"
        return Statistics(*(getattr(self, f"{side}_{part}").clone() for part in ("count", "sum", "outer")))

    def compute(self) -> Tensor:
        """float64; NaN where a side has fewer than two videos. Warns, once, below 256."""
        real, generated = self.statistics(real=True).to(self.device), self.statistics(real=False)
        self.counts = int(real.count), int(generated.count)
        if min(self.counts) < FEW_VIDEOS and not self.warned:
            self.warned = True
            rank_zero_warn(
                f"FVD of {self.counts[0]} real and {self.counts[1]} generated videos: below {FEW_VIDEOS} it says "
                "little by itself; see what as many real ones score (genie.metrics.fvd.real_floor)"
            )
        return frechet_distance(real, generated)


class KernelVideoDistance(VideoDistance):
    """KVD, lower is better: 0 on average for real videos, however few there are. Holds the features of all videos."""

    prefix = "kvd"

    def __init__(self, features: VideoFeatures | None = None, **settings: Any) -> None:
        super().__init__(features, **settings)
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("generated", [], dist_reduce_fx="cat")

    def _add(self, features: Tensor, real: bool) -> None:
        (self.real if real else self.generated).append(features.float())

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As in torchmetrics; a process without videos takes part with empty features."""
        for features in (self.real, self.generated):
            if not features:
                features.append(torch.zeros(0, self.features.dim, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """float64, may be below 0; NaN where a side has fewer than two videos."""
        nothing = torch.zeros(0, self.features.dim, device=self.device)
        real, generated = (
            features if isinstance(features, Tensor) else torch.cat([nothing, *features])
            for features in (self.real, self.generated)
        )
        self.counts = len(real), len(generated)
        return kernel_distance(real, generated)
