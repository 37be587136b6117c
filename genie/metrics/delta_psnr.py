"""ΔtPSNR: how much worse is a generated frame when the actions before it are random? The measure of control.

Source: Genie (arXiv 2402.15391) §3, "controllability": ΔtPSNR = PSNR(x_t, x̂_t) − PSNR(x_t, x̂'_t), where x̂_t is
generated with the actions inferred from the true video and x̂'_t with random ones; the paper reports t = 4.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from genie.metrics.psnr import psnr

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
