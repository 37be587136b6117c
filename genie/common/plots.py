"""Matplotlib plots of evaluations."""

import itertools
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from genie.common.files import replacing

# suffix of a curve's name -> its style; baselines are grey
STYLES = {
    "": {"label": "generated", "color": "tab:orange", "marker": "o"},
    "_reconstruction": {"label": "tokenizer alone (the best possible)", "color": "tab:blue", "linestyle": "--"},
    "_random_actions": {"label": "generated with random actions", "color": "tab:red", "linestyle": "-."},
    "_copy_last": {"label": "copy of the last given one", "color": "0.4", "marker": "s", "markersize": 4},
    "_background": {"label": "constant background", "color": "0.6", "linestyle": ":"},
}
OBJECT_COLORS = ("tab:orange", "tab:green", "tab:blue", "tab:red", "tab:purple", "tab:brown")  # repeated
# video in which objects are tracked -> its style
OBJECT_STYLES = {
    "generated": {"marker": "o"},
    "reconstruction": {"linestyle": "--"},
    "constant_velocity": {"linestyle": "-."},
    "copy_last": {"linestyle": ":"},
}
OBJECT_NAMES = {"reconstruction": "ceiling (true tokens decoded)"}


def plot_horizon(curves: dict[str, list[float]], unit: str, path: Path) -> None:
    """`unit` against the number of the generated frame (or state), one line for each key of `STYLES` in `curves`."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for name in [name for name in STYLES if name in curves]:
        axes.plot(range(1, len(curves[name]) + 1), curves[name], **STYLES[name])
    _label_horizon(axes, unit)
    axes.legend(fontsize="small")
    save_figure(figure, path)


def plot_objects(metrics: dict[str, dict], path: Path) -> None:
    """Metrics of each object (`RolloutObjects`) against the horizon: the shares of frames in which it is found and in
    which it is in its place, and its median distance. Upper row: all frames; lower row: rally frames, where bands are
    the 95% intervals over clips of the generated videos."""
    panels = {
        "present": "share of {} with the object",
        "in_place": "share of {} with the object in its place",
        "distance_median": "median distance, where found [pixels]",
    }
    in_rallies = {name: values["rally"] for name, values in metrics.items() if "rally" in values}
    rows = {"frames": metrics} | ({"rally frames": in_rallies} if in_rallies else {})
    figure = Figure(figsize=(15, 4.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(panels), squeeze=False)
    colors = dict(zip(metrics, itertools.cycle(OBJECT_COLORS), strict=False))
    lines = {}
    for row, (frames, shown) in zip(grid, rows.items(), strict=True):
        for axes, (name, unit) in zip(row, panels.items(), strict=True):
            for label, videos in shown.items():
                for video, style in OBJECT_STYLES.items():
                    curve = videos[video][f"{name}_by_horizon"]
                    text = f"{label}, {OBJECT_NAMES.get(video, video.replace('_', ' '))}"
                    axes.plot(range(1, len(curve) + 1), curve, label=text, color=colors[label], markersize=4, **style)
                if shown is in_rallies and name != "distance_median":
                    ends = [videos["generated"][f"{name}_{end}_by_horizon"] for end in ("low", "high")]
                    axes.fill_between(range(1, len(ends[0]) + 1), *ends, color=colors[label], alpha=0.15, linewidth=0)
            _label_horizon(axes, unit.format(frames))
            if name != "distance_median":
                axes.set_ylim(-0.03, 1.03)
            lines |= {text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), fontsize="small", loc="outside right center")
    save_figure(figure, path)


def _label_horizon(axes: Axes, unit: str) -> None:
    axes.set(xlabel="generated frame (horizon)", ylabel=unit)
    whole_ticks(axes)
    axes.grid(alpha=0.3)


def whole_ticks(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only, at least one: frames, steps and codes are counted."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def plot_confusion(confusion: Tensor, matching: Tensor, true_names: list[str], path: Path) -> None:
    """Counts [latent, true] coloured by their share of each latent action, annotated with the counts; those of the best
    `matching` int64 [latent] (-1: none) are framed."""
    shares = confusion / confusion.sum(1, keepdim=True).clamp_min(1)
    rows, columns = confusion.shape
    figure = Figure(figsize=(2 + 0.9 * columns, 1.4 + 0.6 * rows), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for row in range(rows):
        for column in range(columns):
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, f"{int(confusion[row, column])}", ha="center", va="center", color=color)
        if matching[row] >= 0:
            corner = int(matching[row]) - 0.5, row - 0.5
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="tab:orange", linewidth=3))
    axes.set_xticks(range(columns), true_names, rotation=30 if columns > 4 else 0)
    axes.set_yticks(range(rows), [str(row) for row in range(rows)])
    axes.set(xlabel="true action", ylabel="latent action")
    figure.colorbar(image, label="share of the latent action")
    save_figure(figure, path)


def plot_codebook(counts: Tensor, path: Path) -> None:
    """Usage counts [K] of codes, the most used first: a collapsed codebook is one bar, unused codes leave a gap."""
    counts = counts.sort(descending=True).values
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.stairs((counts / counts.sum().clamp_min(1)).tolist(), fill=True)  # a bar each would take seconds to draw
    whole_ticks(axes)
    used = int((counts > 0).sum())
    axes.set(xlabel=f"codes, the most used first: {used} of {len(counts)} used", ylabel="share of tokens", yscale="log")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, atomically."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
