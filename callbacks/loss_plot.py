"""plots/loss.png: the curves of metrics.csv, one panel for each kind of metric."""

import re
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genie.common.files import not_vital, replacing
from genie.common.plots import whole_ticks
from genie.runs.metrics_file import read_metrics

NUM_COLUMNS = 3
MANY_ROWS = 1000  # from here on, a search for the best place of a legend takes long
NOT_DRAWN = re.compile(r"step|epoch|.*_h\d+|rollout/seconds")  # the means over the horizon are
LOG_SCALE_RATIO = 20  # a curve that falls by more is unreadable on a linear axis


class LossPlot(Callback):
    """Draws the picture anew after each validation, at the end, and at the start of a run that may have gone back."""

    def __init__(self, metrics: Path, picture: Path):
        self.metrics, self.picture = metrics, picture
        self.drawn = 0  # size of the file that was drawn

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        size = self.metrics.stat().st_size if trainer.is_global_zero else self.drawn
        if size != self.drawn:
            with not_vital(self.picture):
                plot_metrics(self.metrics, self.picture)
            self.drawn = size

    on_train_start = on_train_end = on_validation_end


def families(names: list[str]) -> dict[str, list[str]]:
    """Metrics by panel: `train/psnr`, `val/psnr` and `val/psnr_background` share the panel "psnr".

    A metric joins the shortest one that it prolongs by `_`, so a baseline is drawn where it belongs; a mean over the
    horizon stands for what it is the mean of.
    """
    bare = {name: name.split("/", 1)[-1].removesuffix("_mean") for name in names}
    panels: dict[str, list[str]] = {}
    for name, short in bare.items():
        heads = [other for other in bare.values() if short == other or short.startswith(f"{other}_")]
        panels.setdefault(min(heads, key=len), []).append(name)
    # the loss first: it is what one looks for
    return dict(sorted(panels.items(), key=lambda panel: panel[0] != "loss"))


def wants_log_scale(values: list[float]) -> bool:
    """Whether curves of these values are unreadable on a linear axis and can be drawn on another one."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) and max(positive) > LOG_SCALE_RATIO * min(positive)


def plot_metrics(metrics: Path, picture: Path) -> None:
    """Draws `metrics` (a metrics.csv) into the PNG `picture`, whole or not at all; no rows, no picture."""
    rows = read_metrics(metrics)
    names = list(dict.fromkeys(name for row in rows for name in row if not NOT_DRAWN.fullmatch(name)))
    if not names:
        return
    panels = families(names)
    num_rows = -(-len(panels) // NUM_COLUMNS)
    figure = Figure(figsize=(5 * NUM_COLUMNS, 3.2 * num_rows))
    FigureCanvasAgg(figure)
    for index, (title, members) in enumerate(panels.items()):
        axes = figure.add_subplot(num_rows, NUM_COLUMNS, index + 1)
        values = []
        for name in members:
            points = [(row["step"], row[name]) for row in rows if name in row]
            steps, heights = zip(*points, strict=True)
            axes.plot(steps, heights, label=name, linewidth=1, marker="." if len(points) < 30 else None)
            values += heights
        if wants_log_scale(values):
            axes.set_yscale("log")
        axes.set(title=title, xlabel="step")
        whole_ticks(axes)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="best" if len(rows) < MANY_ROWS else "upper right")
    # A layout engine would measure every text several times, which takes longer than drawing.
    margin = 0.5 / figure.get_figheight()
    figure.subplots_adjust(left=0.05, right=0.98, bottom=margin, top=1 - margin, hspace=0.45, wspace=0.2)
    with replacing(picture) as file:
        figure.savefig(file, format="png", dpi=110)
