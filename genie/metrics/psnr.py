"""Peak signal-to-noise ratio for frames in [0, 1]: from a mean squared error, and beside its trivial baselines.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

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
