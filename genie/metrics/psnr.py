"""PSNR, ΔPSNR as the measure of control, and PSNR and SSIM against the horizon, for frames in [0, 1].

Source of ΔPSNR: Genie (arXiv 2402.15391) §3, "controllability": ΔtPSNR = PSNR(x_t, x̂_t) − PSNR(x_t, x̂'_t), where x̂_t
is generated with the actions inferred from the true video and x̂'_t with random ones; the paper reports t = 4.

Dimension letters: `B` batch, `T` frames, `n` horizon, `C H W` channels and pixels.
"""

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image import PeakSignalNoiseRatio

from genie.common.device import full_precision
from genie.metrics.sums import AdditiveMetric

# Mean squared error of rounding to 8 bits: a floor that keeps the PSNR of equal frames, and means over clips, finite.
ROUNDING_ERROR = 1 / (12 * 255**2)
AVERAGES = ("clip", "pooled")


def psnr(mean_squared_error: Tensor) -> Tensor:
    """dB, at most 58.9 (`ROUNDING_ERROR`)."""
    return -10 * mean_squared_error.clamp_min(ROUNDING_ERROR).log10()


def frame_psnr(*names: str) -> MetricCollection:
    """One PSNR (dB, from the mean squared error over all frames seen) under each name."""
    return MetricCollection({name: PeakSignalNoiseRatio(data_range=1.0) for name in names}, compute_groups=False)


def update_frame_psnr(psnr: MetricCollection, predicted: Tensor, frames: Tensor, background: Tensor) -> None:
    """Updates `psnr` and its two trivial baselines on the same frames 1…T-1. predicted [B, T-1, C, H, W]; frames [B, T,
    C, H, W]; background [C, H, W]; all in [0, 1]."""
    target = frames[:, 1:]
    psnr["psnr"].update(predicted.float(), target)
    psnr["psnr_copy_last"].update(frames[:, :-1], target)
    psnr["psnr_background"].update(background.expand_as(target), target)


class DeltaPSNR(AdditiveMetric):
    """ΔtPSNR in dB: positive when actions matter and are followed, 0 when they have no effect.

    The random actions are uniform over all of the world's actions; both generations start from the same prompt. How the
    PSNR is averaged:

    - "clip" (default, the paper's formula): the difference of the two PSNRs of every clip, then the mean over clips.
      Errors below the rounding to 8 bits count as that, 58.9 dB.
    - "pooled": the squared errors are averaged over all clips, converted to dB once, then subtracted. Clips with much
      motion dominate.

    Args:
        t: the generated frame that is compared, counted from 1 after the prompt.
        average: "clip" or "pooled".
    """

    higher_is_better = True

    def __init__(self, t: int = 4, average: str = "clip") -> None:
        super().__init__()
        if t < 1:
            raise ValueError(f"t={t}: the first generated frame is t=1")
        if average not in AVERAGES:
            raise ValueError(f"average={average!r}: choose one of {', '.join(AVERAGES)}")
        self.t, self.average = t, average
        self.add_sums("difference", "inferred_error", "random_error", "clips")

    def update(self, target: Tensor, inferred: Tensor, random: Tensor) -> None:
        """True frames, and those generated with inferred and with random actions after the same prompt, [B, n, C, H, W]
        in [0, 1]; only frame t is used. ValueError where n < t."""
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
        """Scalar in dB; NaN without data."""
        if self.average == "clip":
            return (self.difference / self.clips).float()
        return (psnr(self.inferred_error / self.clips) - psnr(self.random_error / self.clips)).float()


class HorizonMetric(AdditiveMetric):
    """A `score`, defined by subclasses, of each of the frames 1, 2, … n (`horizon`) after the prompt, averaged over
    clips."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.add_sums("total", shape=(horizon,))
        self.add_sums("clips")

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        """[B, n] of frames [B, n, C, H, W]."""
        raise NotImplementedError

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Frames [B, n, C, H, W] in [0, 1]; the prediction is broadcast to the `target`."""
        with full_precision(target):  # SSIM takes differences of squares, which vanish in bf16
            score = self.score(predicted.float().expand_as(target), target.float())  # [B, n]
        self.total += score.sum(0).to(self.total.dtype)
        self.clips += len(target)

    def compute(self) -> Tensor:
        """Mean score [n]; NaN without data."""
        return (self.total / self.clips).float()


class HorizonPSNR(HorizonMetric):
    """PSNR in dB of the squared error averaged over all clips, so that a perfectly predicted clip does not dominate."""

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).square().mean(dim=(-3, -2, -1))

    def compute(self) -> Tensor:
        """dB [n]; NaN without data."""
        return psnr(self.total / self.clips).float()


class HorizonSSIM(HorizonMetric):
    """Structural similarity, -1 … 1, of each frame (Gaussian window of 11 x 11 pixels), then the mean over clips."""

    def score(self, predicted: Tensor, target: Tensor) -> Tensor:
        frames = predicted.flatten(0, 1), target.flatten(0, 1)
        return structural_similarity_index_measure(*frames, data_range=1.0, reduction="none").view(target.shape[:2])
