"""The picture of attention maps: the frames that a model saw, and where one token looks in each of its blocks."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from genie.common.media import to_bytes
from genie.common.plots import save_figure, whole_ticks


def plot_attention(pictures: list[tuple[Tensor, list[int], list]], mean: bool, path: Path) -> None:
    """For every model the frames [T, C, H, W] that it saw, a square (left, top, side) around the token asked for, and
    a line for each of its blocks (`genie.evaluation.attention.Row`): weights in space over the last frame, their
    `mean` over heads or each by itself, and weights in time as bars, with a dot for each head."""
    num_rows = sum(1 + len(rows) for _, _, rows in pictures)
    num_maps = 1 if mean else max(row.space.shape[0] for _, _, rows in pictures for row in rows)
    width, height = 2.2 * num_maps + 5, 2.3 * num_rows
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    # A layout engine would measure every text several times, which takes longer than drawing.
    margins = {"left": 0.3 / width, "right": 1 - 0.1 / width, "bottom": 0.5 / height, "top": 1 - 0.1 / height}
    places = figure.add_gridspec(num_rows, num_maps + 2, **margins, hspace=0.4, wspace=0.15)
    line = 0
    for frames, square, rows in pictures:
        _frames(figure.add_subplot(places[line, :]), frames, square)
        for row in rows:
            line += 1
            maps = row.space.mean(0, keepdim=True) if mean else row.space
            for number, weights in enumerate(maps):
                axes = figure.add_subplot(places[line, number])
                _overlay(axes, frames[-1], weights, square)
                title = "mean over heads" if mean else f"head {number + 1}"
                axes.set_title(f"{title}, at most {weights.max():.0%}", fontsize="small")
                axes.set_ylabel(row.label if number == 0 else "", fontsize="small")
            axes = figure.add_subplot(places[line, num_maps:])
            when = range(1 - len(frames), 1)
            axes.bar(when, row.time.mean(0).tolist(), color="0.7")
            for head in row.time:
                axes.plot(when, head.tolist(), ".", markersize=4)
            axes.set(xlabel="frame (0: that of the token)", ylim=(0, 1))
            whole_ticks(axes)
        line += 1
    save_figure(figure, path)


def _frames(axes: Axes, frames: Tensor, square: list[int]) -> None:
    """All frames in a row, the token's place marked in each."""
    gap = frames.new_ones(*frames.shape[1:3], 2)
    row = torch.cat([part for frame in frames for part in (frame, gap)], dim=-1)
    axes.imshow(to_bytes(row))
    for number in range(len(frames)):
        _mark(axes, [square[0] + number * (frames.shape[-1] + 2), *square[1:]])
    axes.set_axis_off()


def _overlay(axes: Axes, frame: Tensor, weights: Tensor, square: list[int]) -> None:
    """Weights [rows, columns] of patches over a frame [C, H, W], from 0 (dark) to the largest (bright)."""
    height, width = (count * square[2] for count in weights.shape)
    axes.imshow(to_bytes(frame.mean(0, keepdim=True)), alpha=0.5)
    axes.imshow(weights.numpy(), alpha=0.6, cmap="magma", vmin=0, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set(xlim=(-0.5, frame.shape[-1] - 0.5), ylim=(frame.shape[-2] - 0.5, -0.5), xticks=[], yticks=[])
    _mark(axes, square)


def _mark(axes: Axes, square: list[int]) -> None:
    left, top, side = square
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="cyan", linewidth=1.2))
