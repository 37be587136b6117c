"""Plots and video of long rollouts: objects over time, speeds, the spectrum of changes, moments beside real ones.

Dimension letters: `N` videos, `w` frames of a moment, `C H W` channels and pixels.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from genie.common.media import PREDICTED_COLOR, border, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import OBJECT_COLORS, save_figure, whole_ticks
from genie.evaluation.long_videos import LongVideos, Window
from genie.metrics.long_videos import PERIODS, shares, speeds

REAL_COLOR = (200, 200, 200)  # border of real frames
MEAN_OF = 50  # frames of the running mean
BINS = 40
# videos -> style of their lines
STYLES = {
    "generated": {"label": "generated", "color": "tab:orange"},
    "game": {"label": "the real game, played likewise", "color": "tab:blue", "linestyle": "--"},
    "recorded": {"label": "recorded", "color": "0.5", "linestyle": ":"},
}


def plot_presence(videos: dict[str, LongVideos], names: list[str], path: Path) -> None:
    """Of each object the share of the generated videos that have it, and have it more than once, against the number of
    the frame; the real share as a dashed line."""
    real = videos.get("game") or videos["recorded"]
    tracks = videos["generated"].tracks
    figure, (above, beneath) = _panels(2, "rows")
    for axes, least, unit in ((above, 1, "share with the object"), (beneath, 2, "share with it more than once")):
        counts = torch.stack([track.counts >= least for track in tracks]).double().mean(0)  # [T, O]
        for color, index in zip(itertools.cycle(OBJECT_COLORS), range(len(names)), strict=False):
            axes.plot(*running_mean(counts[:, index].numpy()), color=color, label=names[index])
            axes.axhline(float(shares(real.tracks, least)[index]), color=color, linestyle="--", linewidth=1)
        axes.set(ylabel=unit, ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        whole_ticks(axes)
    beneath.set_xlabel("generated frame")
    above.plot([], [], color="0.3", linestyle="--", linewidth=1, label="in the real game")
    above.legend(fontsize="small", ncols=4)
    save_figure(figure, path)


def running_mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of frames, from 1, and the means of the `MEAN_OF` values around each (of all, if there are fewer)."""
    length = min(MEAN_OF, len(values))
    means = np.convolve(values, np.ones(length) / length, "valid")
    return np.arange(len(means)) + (length + 1) / 2, means


def plot_speeds(videos: dict[str, LongVideos], names: list[str], path: Path) -> None:
    """Histogram of the speeds of each object, in pixels per frame."""
    figure, panels = _panels(len(names), "columns")
    for axes, (index, name) in zip(panels, enumerate(names), strict=True):
        moves = {whose: speeds(some.tracks, index) for whose, some in videos.items()}
        known = [some for some in moves.values() if len(some)]
        most = max((float(some.quantile(0.99)) for some in known), default=1.0)
        edges = np.linspace(0, 1.1 * max(most, 1.0), BINS + 1)
        for whose, some in moves.items():
            counts, _ = np.histogram(some.numpy().clip(max=edges[-1]), edges)
            axes.stairs(counts / max(1, counts.sum()), edges, **STYLES[whose])
        axes.set(xlabel=f"{name}, pixels per frame", ylabel="share of moves" if index == 0 else "")
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize="small", loc="outside upper center", ncols=3)
    save_figure(figure, path)


def plot_spectrum(spectra: dict[str, Tensor], period: int, path: Path) -> None:
    """The power of the change from frame to frame against its frequency, with the period of the window marked."""
    figure, (axes,) = _panels(1, "rows")
    for whose, spectrum in spectra.items():
        frequencies = np.arange(len(spectrum)) / (PERIODS * period)
        axes.plot(frequencies[2:], spectrum[2:].numpy(), **STYLES[whose])  # without the mean and its leakage
    axes.axvline(1 / period, color="tab:red", linewidth=1, label=f"the window begins anew, each {period} frames")
    if all(bool((spectrum[2:] > 0).all()) for spectrum in spectra.values()):
        axes.set_yscale("log")
    axes.set(xlabel="frequency, per frame", ylabel="power of the change from frame to frame")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, path)


def draw_moments(
    generated: dict[Window, Tensor], real: dict[Window, Tensor], count: int, fps: float, path: Path
) -> None:
    """A video with a row for each moment: real (where there are any) and generated frames uint8 [N, w, C, H, W] beside
    each other, for `count` of the N."""
    count = min(count, *(len(videos[moment]) for videos in (real, generated) if videos for moment in generated))
    rows = []
    for moment in generated:
        cells = []
        for number in range(count):
            for videos, color in ((real, REAL_COLOR), (generated, PREDICTED_COLOR)):
                if videos:
                    video = to_bytes(videos[moment][number])
                    cells.append(border(enlarge(video, scale_to(video.shape[1], 128)), color, 3))
        rows.append(cells)
    labels = (["real"] if real else []) + ["generated"]
    picture = grid(rows, [f"from frame {start + 1}" for start, _ in generated], labels * count)
    write_mp4(path, picture, fps)


def _panels(count: int, along: str) -> tuple[Figure, list[Axes]]:
    size, shape = ((6.8, 1 + 2.6 * count), (count, 1)) if along == "rows" else ((4.2 * count, 3.4), (1, count))
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(*shape, squeeze=False).flat)
