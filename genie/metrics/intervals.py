"""95% confidence intervals of shares and means over clips, from sums that can be streamed and added.

Frames of one clip are correlated, so the samples are clips. A share over a single frame of each clip has Wilson's
interval (1927), which also holds for few values and near 0 and 1. For a share over several frames of each clip,
Wilson's interval is taken at the *effective* number of frames (Korn and Graubard, Survey Methodology 24, 1998): the
number of independent frames whose share would vary as this one varies over clips. Nothing is drawn at random. In trials
with 40 clips of 0 to 8 frames the coverage was 89% to 95%, lowest near 1.

Dimension letters: `N` clips.
"""

from dataclasses import dataclass

import torch
from scipy.stats import norm
from torch import Tensor

CONFIDENCE = 0.95
Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def wilson(share: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high ends, in [0, 1], of `share` in [0, 1] of `count` (any number of) independent values; NaN for 0."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * (share * (1 - share) / count + Z**2 / (4 * count**2)).sqrt()
    return (middle - reach).clamp_min(0), (middle + reach).clamp_max(1)


@dataclass(frozen=True)
class ClipSums:
    """Sums over clips of the `part` a and the `whole` w of a ratio: Σa, Σw, Σa², Σaw, Σw² and the number of clips with
    w > 0; float64 of one shape each."""

    part: Tensor
    whole: Tensor
    part_squared: Tensor
    product: Tensor
    whole_squared: Tensor
    clips: Tensor

    @classmethod
    def of(cls, part: Tensor, whole: Tensor) -> "ClipSums":
        """Sums of the values [N, …] of single clips."""
        part, whole = part.double(), whole.double()
        sums = [values.sum(0) for values in (part, whole, part**2, part * whole, whole**2, whole > 0)]
        return cls(*sums[:-1], sums[-1].double())

    @property
    def ratio(self) -> Tensor:
        """Σa / Σw, NaN without data."""
        return self.part / self.whole

    @property
    def variance(self) -> Tensor:
        """Linearised variance of the ratio over clips; infinite for a single clip."""
        spread = self.part_squared - 2 * self.ratio * self.product + self.ratio**2 * self.whole_squared
        spread = spread.clamp_min(0) * (spread > 1e-9 * self.part_squared)  # of the size of rounding
        return spread / self.whole**2 * self.clips / (self.clips - 1)

    def share_interval(self) -> tuple[Tensor, Tensor]:
        """Interval of a share, with a hits among the w frames of a clip."""
        share, variance = self.ratio, self.variance
        certain = (share <= 0) | (share >= 1)  # equal clips: their number decides
        count = torch.where(variance > 0, share * (1 - share) / variance, self.whole)
        count = torch.where(certain | (self.clips == 1), self.clips, torch.minimum(count.clamp_min(1), self.whole))
        return wilson(share, count)

    def mean_interval(self) -> tuple[Tensor, Tensor]:
        """Interval of a mean, with w values of sum a in a clip; NaN for a single clip."""
        reach = Z * self.variance.sqrt()
        return self.ratio - reach, self.ratio + reach
