"""Features of windows: measured signals, pooled features of a network, the file of qualities.

Dimension letters: `B` pictures, `T` frames, `H W` pixels, `N` windows, `D` features of one picture.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from data_modules.annotations import Table, Window, write_table
from data_modules.image_resize import AreaResize
from data_modules.worker_loader import DamagedData
from genie.common.device import choose_device
from genie.common.errors import UserError
from genie.labeling.windows import WindowedData
from genie.metrics.efficientnet_lite import pretrained_efficientnet_lite0
from genie.metrics.video_features import Frozen

MEASURED = ("motion", "still", "darkness", "sharpness", "overlay")  # from a window alone
SIGNALS = (*MEASURED, "duplicates")
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
SAME = 4 / 255  # a pixel that changes by less counts as constant: the flicker of compressed video
DARK = 0.1
EDGE = 0.1  # difference of neighbours: more than the shades of a surface
GLANCE = (8, 8)  # areas of a perceptual hash
SHADE = 16  # of 256 levels: a level of a perceptual hash
SMALLEST = 1e-5  # added to motion and sharpness, which span decades, before the logarithm
# of the photographs that ResNets are trained on
MEAN, DEVIATION = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def measure(frames: np.ndarray) -> dict[str, float]:
    """The signals `MEASURED` of frames uint8 [T, H, W, 3]:

    motion     mean difference of a pixel from one frame to the next, in [0, 1]
    still      share of frames in which no pixel differs from the frame before
    darkness   share of pixels that are nearly black
    sharpness  mean difference of a pixel from its neighbours, in [0, 1]: low where blurred, high in noise
    overlay    share of pixels that are on an edge and never change: text, frames, logos, static objects
    """
    grey = frames @ GREY  # [T, H, W]
    steps = np.abs(np.diff(grey, axis=0)) if len(grey) > 1 else np.zeros_like(grey)
    edges = np.zeros(grey.shape[1:], dtype=bool)
    mean = grey.mean(axis=0)
    edges[:-1] |= np.abs(np.diff(mean, axis=0)) > EDGE
    edges[:, :-1] |= np.abs(np.diff(mean, axis=1)) > EDGE
    resting = np.ptp(grey, axis=0) < SAME
    around = sum(np.roll(grey, step, axis) for step in (-1, 1) for axis in (1, 2)) / 4
    inside = (slice(None), slice(1, -1), slice(1, -1)) if min(grey.shape[1:]) > 2 else ...
    return {
        "motion": float(steps.mean()),
        "still": float((steps.max(axis=(1, 2)) < SAME).mean()),
        "darkness": float((grey < DARK).mean()),
        "sharpness": float(np.abs(grey - around)[inside].mean()),
        "overlay": float((edges & resting).mean()),
    }


def perceptual_hash(frames: np.ndarray) -> bytes:
    """A value that is equal for windows that look the same: coarse first, middle and last frames."""
    some = frames[[0, len(frames) // 2, -1]]
    return (AreaResize(frames.shape[1:3], GLANCE)(some) // SHADE).tobytes()


def count_duplicates(glances: list[bytes]) -> list[int]:
    """For each window, the number of others that look the same."""
    counts = Counter(glances)
    return [counts[one] - 1 for one in glances]


def as_features(rows: list[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    """float64 [N, len(names)] of the signals of windows, those that span decades as logarithms."""
    columns = []
    for name in names:
        column = np.array([row[name] for row in rows], dtype=np.float64)
        columns.append(np.log(column + SMALLEST) if name in ("motion", "sharpness") else column)
    return np.stack(columns, axis=1)


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its last layer: pictures [B, 3, H, W] in [0, 1] → [B, 1280]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = pretrained_efficientnet_lite0()

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network.pooled(pictures)


class ResNet(nn.Module):
    """A ResNet of `transformers`: pictures [B, 3, H, W] in [0, 1] → [B, D], 512 of ResNet-18.

    `name`: a folder or a name on the hub. Raises UserError where it, or the package, is not available.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            from transformers import ResNetModel
        except ImportError:
            way = "pip install 'genie-world[curation]', or features=lite0"
            raise UserError(f"features=resnet18 needs the package transformers: {way}") from None
        try:
            self.network = ResNetModel.from_pretrained(name, use_safetensors=True)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"resnet={name} cannot be loaded ({reason}): give a folder, or features=lite0") from error

    def forward(self, pictures: Tensor) -> Tensor:
        normal = (pictures - MEAN.to(pictures)) / DEVIATION.to(pictures)
        return self.network(normal).pooler_output.flatten(1)


class PooledFeatures:
    """Callable uint8 [T, H, W, 3] → float64 [3 D]: mean, standard deviation and mean change of the features over time.

    count: maximal number of frames that are used, evenly spaced, with the first and the last.
    size: pixels to which pictures are scaled, high and wide.
    """

    def __init__(self, network: nn.Module, count: int, size: int, device: torch.device):
        self.network, self.count, self.size, self.device = Frozen(network), count, size, device

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        some = frames[np.unique(np.linspace(0, len(frames) - 1, self.count).round().astype(int))]
        pictures = torch.from_numpy(some).to(self.device).permute(0, 3, 1, 2).float() / 255
        pictures = F.interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        features = self.network(pictures).double()  # [T, D]
        change = features.diff(dim=0).abs().mean(0) if len(features) > 1 else torch.zeros_like(features[0])
        return torch.cat([features.mean(0), features.std(0, correction=0), change]).cpu().numpy()


def pooled_features(settings: dict[str, Any], device: str) -> PooledFeatures | None:
    """The features that the keys `features`, `resnet`, `num_pictures`, `picture_size` choose; None for features=none.

    Raises UserError for a network that is not available.
    """
    name = settings["features"]
    if name == "none":
        return None
    network = Lite0() if name == "lite0" else ResNet(settings["resnet"])
    return PooledFeatures(network, settings["num_pictures"], settings["picture_size"], choose_device(device))


@dataclass
class WindowFeatures:
    """Signals and features of a window. `blocks`: its features by kind, [D] each."""

    window: Window
    signals: dict[str, float]  # without the duplicates, which depend on all windows
    perceptual_hash: bytes
    blocks: list[np.ndarray]


def look_at(footage: WindowedData, windows: list[Window], network: PooledFeatures | None) -> Iterator[WindowFeatures]:
    """The features of one window after the other, with progress on a terminal; without a network, only the signals.

    Unreadable windows are reported and left out; with `data.on_error=raise` DamagedData is raised.
    """
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    for window in track(windows, "looking at clips", console=console, transient=True):
        try:
            frames = footage.frames(window)
        except DamagedData as error:
            if footage.on_error == "raise":
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        signals = measure(frames)
        blocks = [as_features([signals], MEASURED)[0]]
        if network is not None:
            blocks.append(network(frames))
        yield WindowFeatures(window, signals, perceptual_hash(frames), blocks)


def stack(looks: list[WindowFeatures]) -> list[np.ndarray]:
    """The features of N windows by kind, [N, D] each."""
    return [np.stack(block) for block in zip(*(look.blocks for look in looks), strict=True)]


def all_signals(looks: list[WindowFeatures]) -> list[dict[str, float]]:
    """The `SIGNALS` of each window; duplicates are counted among these windows."""
    counts = count_duplicates([look.perceptual_hash for look in looks])
    return [look.signals | {"duplicates": count} for look, count in zip(looks, counts, strict=True)]


def write_scores(path: Path, data: dict[str, dict], looks: list[WindowFeatures], quality: list[float] | None) -> None:
    """Writes quality.csv for N windows; without `quality` [N] its column is empty."""
    values = [""] * len(looks) if quality is None else [f"{value:.3f}" for value in quality]
    rows = {
        look.window: {"quality": value} | {name: f"{signals[name]:.5g}" for name in SIGNALS}
        for look, value, signals in zip(looks, values, all_signals(looks), strict=True)
    }
    write_table(path, Table(data, rows), ["quality", *SIGNALS])
