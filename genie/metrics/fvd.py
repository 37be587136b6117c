"""FVD, the Fréchet video distance, and KVD, the kernel one: how far are generated videos from real ones?

Source: Unterthiner et al. 2018, "Towards Accurate Generative Models of Video", arXiv 1812.01717: the 400 logits of I3D
for every video, then the distance of the two sets of features. `docs/fvd.md` says what these numbers mean and what they
do not see.

Dimension letters: `B` videos, `T` frames, `C H W` channels and pixels, `D` features.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import rank_zero_warn

from genie.metrics.feature_distances import Statistics, frechet_distance, kernel_distance
from genie.metrics.video_features import VideoFeatures

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
                "little by itself; see what as many real ones score (genie.metrics.feature_distances.real_floor)"
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
