"""Quality against horizon: how good is the first generated frame, the second, the tenth?

Dimension letters: `B` batch, `n` horizon, `C H W` channels and pixels.
"""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from genie.common.device import full_precision
from genie.metrics.psnr import psnr


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
