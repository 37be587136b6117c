"""FVD and KVD.

How far apart are two sets of features? The Fréchet and the kernel distance, and the floor that real data have.

FVD, the Fréchet video distance, and KVD, the kernel one: how far are generated videos from real ones?

Source: Unterthiner et al. 2018, "Towards Accurate Generative Models of Video", arXiv 1812.01717: the 400 logits of I3D
for every video, then the distance of the two sets of features. `docs/fvd.md` says what these numbers mean and what they
do not see.

Dimension letters: `N M` videos, `D` features.

Dimension letters: `B` videos, `T` frames, `C H W` channels and pixels, `D` features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from genie.common.errors import UserError
from genie.common.files import replacing
from genie.metrics.video_features import VideoFeatures


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


FEW_VIDEOS = 256  # on fewer the Fréchet distance of two real sets is of the size of what it should measure


class VideoDistance(Metric):
    """What both distances share.

    Args:
        features: an extractor, to share it between metrics; without it, one with `settings`.
        settings: arguments of `VideoFeatures`: detector, num_frames, resize, batch_size, options.
    """

    full_state_update = False
    higher_is_better = False
    prefix: str

    def __init__(self, features: VideoFeatures | None = None, **settings: Any) -> None:
        super().__init__()
        if features is not None and settings:
            raise ValueError(f"features are given: {', '.join(settings)} cannot be set beside them")
        self.features = features or VideoFeatures(**settings)
        self.counts: tuple[int, int] | None = None  # real and generated videos of the last `compute`

    def update(self, videos: Tensor, real: bool) -> None:
        """Adds real or generated videos [B, T, C, H, W], uint8 or floats in [0, 1], or their features [B, D].

        Features, as `self.features(videos)` gives them, spare the network the second pass when two metrics look at the
        same videos. Raises ValueError for videos of another length or range.
        """
        features = self.features(videos) if videos.dim() != 2 else videos
        if features.shape[1] != self.features.dim:
            raise ValueError(f"features of width {features.shape[1]}: {self.features.name} has {self.features.dim}")
        self._add(features.detach(), real)

    def _add(self, features: Tensor, real: bool) -> None:
        """Takes up features [B, D]."""
        raise NotImplementedError

    def _count(self, real: int, generated: int) -> None:
        """Remembers, at `compute`, how many videos there are on all devices."""
        self.counts = (real, generated)

    @property
    def name(self) -> str:
        """Such as `fvd/i3d_16f_256v`: detector, frames, videos on each side (`_512r256g` where they differ).

        Of the last `compute`, as the videos are counted there; raises RuntimeError before it.
        """
        real, generated = self._counted()
        videos = f"{real}v" if real == generated else f"{real}r{generated}g"
        return f"{self.prefix}/{self.features.name}_{videos}"

    @property
    def protocol(self) -> dict[str, Any]:
        """All that the last `compute` depends on, for reports: numbers of one protocol may be compared."""
        real, generated = self._counted()
        return {**self.features.protocol, "videos_real": real, "videos_generated": generated}

    def _counted(self) -> tuple[int, int]:
        if self.counts is None:
            raise RuntimeError("videos are counted by compute(): call it first")
        return self.counts


class FrechetVideoDistance(VideoDistance):
    """FVD, lower is better; it falls with the number of videos, so compare only numbers with the same name.

    Holds sums, not videos: memory does not grow, and what several processes saw adds up.

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
            shapes = {"count": (), "sum": (self.features.dim,), "outer": (self.features.dim, self.features.dim)}
            for part, shape in shapes.items():
                self.add_state(f"{side}_{part}", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, features: Tensor, real: bool) -> None:
        if real and self.reference is not None:
            raise ValueError("the real videos are given by `reference`: add generated ones only")
        side = "real" if real else "generated"
        for part, value in vars(Statistics.of(features)).items():
            getattr(self, f"{side}_{part}").add_(value)

    def statistics(self, real: bool) -> Statistics:
        """Of the videos so far: `fvd.statistics(real=True).save(path, fvd.features.protocol)` keeps a data set's.

        Of this process; of all of them inside `with fvd.sync_context():`.
        """
        if real and self.reference is not None:
            return self.reference
        side = "real" if real else "generated"
        return Statistics(*(getattr(self, f"{side}_{part}").clone() for part in ("count", "sum", "outer")))

    def compute(self) -> Tensor:
        """float64; NaN where a side has fewer than two videos. Warns, once, below 256."""
        real, generated = self.statistics(real=True).to(self.device), self.statistics(real=False)
        self._count(int(real.count), int(generated.count))
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
        """As torchmetrics does it; a process that saw no video takes part with none instead of nothing."""
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
        self._count(len(real), len(generated))
        return kernel_distance(real, generated)
