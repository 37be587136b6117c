"""Peak signal-to-noise ratio from mean squared errors, for frames in [0, 1]."""

from torch import Tensor

# The mean squared error of rounding to 8 bits: frames that differ by less are the same picture.
# Without this floor two equal frames would be infinitely alike, and a mean over clips with them.
ROUNDING_ERROR = 1 / (12 * 255**2)


def psnr(mean_squared_error: Tensor) -> Tensor:
    """dB; at most 58.9, where the error is that of rounding to 8 bits."""
    return -10 * mean_squared_error.clamp_min(ROUNDING_ERROR).log10()
