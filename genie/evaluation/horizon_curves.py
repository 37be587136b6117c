"""PSNR and SSIM of rollouts against the horizon, beside the videos that need no model and those that bound it."""

from pathlib import Path

from torch import Tensor

from genie.common.plots import plot_horizon
from genie.metrics.psnr import HorizonPSNR, HorizonSSIM

# the generated video, then what it is compared with, as their figures' names end
VIDEOS = ("", "_copy_last", "_background", "_random_actions", "_reconstruction")
SCORES = {"psnr": HorizonPSNR, "ssim": HorizonSSIM}
UNITS = {"psnr": "PSNR [dB]", "ssim": "SSIM"}


class HorizonCurves:
    """Collects the videos named in `VIDEOS` over batches of clips; `horizon` frames each."""

    def __init__(self, horizon: int) -> None:
        self.metrics = {(score, end): SCORES[score](horizon) for score in SCORES for end in VIDEOS}

    def update(self, videos: dict[str, Tensor], target: Tensor) -> None:
        """A video [B, n, C, H, W] in [0, 1] under each name (or what can be broadcast to that), and the true one."""
        for (_, end), metric in self.metrics.items():
            metric.update(videos[end], target)

    def figures(self, folder: Path) -> dict:
        """A list over the horizon for each score and video, its first, last and mean value, and
        `horizons_above_copy_last`, at how many horizons the PSNR is above that of the copy; draws the curves."""
        values = {key: metric.compute().tolist() for key, metric in self.metrics.items()}
        pairs = zip(values["psnr", ""], values["psnr", "_copy_last"], strict=True)
        figures: dict = {"horizons_above_copy_last": sum(ours > copied for ours, copied in pairs)}
        for (score, end), curve in values.items():
            name = f"{score}{end}"
            figures |= {f"{name}_first": curve[0], f"{name}_last": curve[-1], f"{name}_mean": sum(curve) / len(curve)}
            figures[f"{name}_by_horizon"] = curve
        for score, unit in UNITS.items():
            plot_horizon({end: values[score, end] for end in VIDEOS}, unit, folder / f"rollout_{score}.png")
        return figures
