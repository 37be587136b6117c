"""Error against horizon: how good is the first generated frame, the second, the tenth?"""

import torch
from torch import Tensor
from torchmetrics import Metric

from genie.metrics.psnr import psnr


class HorizonPSNR(Metric):
    """PSNR of the frames 1, 2, … n after the prompt, each pooled over all clips.

    Pooled: the squared error is averaged over all clips first and turned into dB once, so a clip that is predicted
    perfectly does not outweigh all others. `psnr` says how errors below the rounding of 8 bits count.

    Args:
        horizon: n.
    """

    full_state_update = False

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.add_state("squared_error", torch.zeros(horizon, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, target: Tensor) -> None:
        """Frames [B, n, C, H, W] in [0, 1]; what can be broadcast to `target` may be given as prediction."""
        error = (predicted.float() - target.float()).square().mean(dim=(-3, -2, -1)).expand(target.shape[:2])
        self.squared_error += error.sum(0).to(self.squared_error.dtype)
        self.clips += len(target)

    def compute(self) -> Tensor:
        """dB [n]; NaN where nothing was counted."""
        return psnr(self.squared_error / self.clips).float()
