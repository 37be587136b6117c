"""PSNR, ΔPSNR, and PSNR and SSIM against the horizon.

Peak signal-to-noise ratio for frames in [0, 1]: from a mean squared error, and beside its trivial baselines.

ΔtPSNR: how much worse is a generated frame when the actions before it are random? The measure of control.

Source: Genie (arXiv 2402.15391) §3, "controllability": ΔtPSNR = PSNR(x_t, x̂_t) − PSNR(x_t, x̂'_t), where x̂_t is
generated with the actions inferred from the true video and x̂'_t with random ones; the paper reports t = 4.

Quality against horizon: how good is the first generated frame, the second, the tenth?

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.

Dimension letters: `B` batch, `n` horizon, `C H W` channels and pixels.
"""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import PeakSignalNoiseRatio

from genie.common.device import full_precision

# The mean squared error of rounding to 8 bits: frames that differ by less are the same picture.
# Without this floor two equal frames would be infinitely alike, and a mean over clips with them.
ROUNDING_ERROR = 1 / (12 * 255**2)


def psnr(mean_squared_error: Tensor) -> Tensor:
    """dB; at most 58.9, where the error is that of rounding to 8 bits."""
    return -10 * mean_squared_error.clamp_min(ROUNDING_ERROR).log10()


def frame_psnr(*names: str) -> MetricCollection:
    """One PSNR (dB, from the mean squared error over all frames seen) under each name."""
    return MetricCollection({name: PeakSignalNoiseRatio(data_range=1.0) for name in names}, compute_groups=False)


def update_frame_psnr(psnr: MetricCollection, predicted: Tensor, frames: Tensor, background: Tensor) -> None:
    """Update `psnr` and its two trivial baselines on frames 1…T-1, the same frames for all three.

    predicted [B, T-1, C, H, W]; frames [B, T, C, H, W]; background [C, H, W]; all in [0, 1].
    """
    target = frames[:, 1:]
    psnr["psnr"].update(predicted.float(), target)
    psnr["psnr_copy_last"].update(frames[:, :-1], target)
    psnr["psnr_background"].update(background.expand_as(target), target)


AVERAGES = ("clip", "pooled")


class DeltaPSNR(Metric):
    """ΔtPSNR in dB: positive when the actions matter and are followed, 0 when they change nothing.

    The random actions are uniform over all of the world's actions and know nothing of the video; both generations
    start from the same prompt. How the PSNR is averaged:

    - "clip" (default, the paper's formula read as it stands): the difference of the two PSNRs of every clip, then
      the mean over clips. Equal frames would have an infinite PSNR, so errors below the rounding of 8 bits count as
      that rounding, 58.9 dB (`genie.metrics.psnr`).
    - "pooled": the squared errors are averaged over all clips, turned into dB once, then subtracted. Clips in which
      much moves decide; quiet ones hardly count.

    Args:
        t: the generated frame that is compared, counted from 1 after the prompt.
        average: "clip" or "pooled".
    """

    full_state_update = False
    higher_is_better = True

    def __init__(self, t: int = 4, average: str = "clip") -> None:
        super().__init__()
        if t < 1:
            raise ValueError(f"t={t}: the first generated frame is t=1")
        if average not in AVERAGES:
            raise ValueError(f"average={average!r}: choose one of {', '.join(AVERAGES)}")
        self.t, self.average = t, average
        for name in ("difference", "inferred_error", "random_error", "clips"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, target: Tensor, inferred: Tensor, random: Tensor) -> None:
        """True frames, those generated with inferred and with random actions, all after the prompt.

        [B, n, C, H, W] in [0, 1] with n ≥ t; only frame t is looked at. Raises ValueError for shorter videos.
        """
        if min(video.shape[1] for video in (target, inferred, random)) < self.t:
            raise ValueError(f"t={self.t} needs videos of at least {self.t} frames after the prompt")
        frame = self.t - 1
        truth = target[:, frame].double()
        with_inferred = (inferred[:, frame].double() - truth).square().flatten(1).mean(1)  # [B]
        with_random = (random[:, frame].double() - truth).square().flatten(1).mean(1)
        self.difference += (psnr(with_inferred) - psnr(with_random)).sum()
        self.inferred_error += with_inferred.sum()
        self.random_error += with_random.sum()
        self.clips += len(target)

    def compute(self) -> Tensor:
        """A number in dB; NaN where nothing was counted."""
        if self.average == "clip":
            return (self.difference / self.clips).float()
        return (psnr(self.inferred_error / self.clips) - psnr(self.random_error / self.clips)).float()


class HorizonMetric(Metric):
    """A score of each of the frames 1, 2, … n after the prompt, averaged over all clips. Subclasses say which score.

    Args:
        horizon: n.
    """

    full_state_update = False

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(horizon, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        """[B, n] of frames [B, n, C, H, W]."""
        raise NotImplementedError

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Frames [B, n, C, H, W] in [0, 1]; what can be broadcast to `target` may be given as prediction."""
        with full_precision(target):  # SSIM takes variances as differences of squares, of which bf16 leaves nothing
            score = self.score(predicted.float().expand_as(target), target.float())  # [B, n]
        self.total += score.sum(0).to(self.total.dtype)
        self.clips += len(target)

    def compute(self) -> Tensor:
        """The mean score [n]; NaN where nothing was counted."""
        return (self.total / self.clips).float()


class HorizonPSNR(HorizonMetric):
    """PSNR [dB], pooled: the squared error is averaged over all clips first and turned into dB once.

    So a clip that is predicted perfectly does not outweigh all others. `psnr` says how errors below the rounding of
    8 bits count.
    """

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The mean squared error of each frame."""
        return (predicted - target).square().mean(dim=(-3, -2, -1))

    def compute(self) -> Tensor:
        """dB [n]; NaN where nothing was counted."""
        return psnr(self.total / self.clips).float()


class HorizonSSIM(HorizonMetric):
    """Structural similarity, -1 … 1, of each frame (Gaussian window of 11 x 11 pixels), then the mean over clips."""

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The SSIM of each frame."""
        frames = predicted.flatten(0, 1), target.flatten(0, 1)
        return structural_similarity_index_measure(*frames, data_range=1.0, reduction="none").view(target.shape[:2])
