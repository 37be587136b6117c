"""Metrics of a run: the logger of metrics.csv, and its plot plots/loss.png.

metrics.csv has one row each time something was logged; Lightning's own logger deletes the file when a run resumes.
Columns: `step` (optimizer steps done: 300 in the last row of a run of 300 steps), then the metrics in order of first
appearance; cells are empty where a row has no such value. Floats are written in full, so that two runs can be compared
bit for bit. Rows that cannot be written wait in memory for the next one.
"""

import csv
import io
import os
import re
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure

from genie.common.errors import reason, warn
from genie.common.files import not_vital, replacing, sync
from genie.common.plots import save_figure, whole_ticks
from genie.runs.metrics_file import read_metrics


class MetricsCSV(Logger):
    """Appends to `path`, after removing rows of a former run after `resume_step` (None: all rows)."""

    def __init__(self, path: Path, resume_step: int | None = None):
        super().__init__()
        self.path, self.resume_step = Path(path), resume_step
        self.columns: list[str] = []
        self.newest = ""
        self.waiting: list[dict[str, float]] = []  # rows that could not be written

    @property
    def experiment(self) -> Path:
        """The file, created at the first use: Lightning accesses it when a run starts."""
        if not self.columns:
            self.go_back(self.resume_step)
        return self.path

    @rank_zero_only
    def go_back(self, step: int | None) -> None:
        """Removes rows after `step`; None: all rows."""
        rows = [] if step is None else [row for row in read_metrics(self.path) if row["step"] <= step]
        self._rewrite(["step", *dict.fromkeys(name for row in rows for name in row if name != "step")], rows)

    name, version = "csv", 0

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: they are in config.yaml beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Writes a row unless it equals the last one (`log_step`)."""
        row = {"step": step + 1, **metrics}  # Lightning counts from 0
        if repr(row) == self.newest:
            return
        self.newest = repr(row)
        self.waiting.append(row)
        try:
            self._write(self.experiment)
        except OSError as error:
            if len(self.waiting) == 1:
                warn(f"{self.path} could not be written ({reason(error)})")

    def _write(self, path: Path) -> None:
        new = dict.fromkeys(name for row in self.waiting for name in row if name not in self.columns)
        if new:
            self._rewrite([*self.columns, *new], [*read_metrics(path), *self.waiting])
        else:
            size = path.stat().st_size
            try:
                with open(path, "a", newline="") as file:
                    file.write(self._lines(self.waiting, self.columns))
            except OSError:
                os.truncate(path, size)  # removes a partial row
                raise
        self.waiting = []

    @rank_zero_only
    def sync(self) -> None:
        """Makes the rows survive a power cut."""
        if self.path.exists():
            sync(self.path)

    def _rewrite(self, columns: list[str], rows: list[dict[str, float]]) -> None:
        with replacing(self.path, "w", newline="") as file:
            file.write(",".join(columns) + "\n" + self._lines(rows, columns))
        self.columns = columns

    @staticmethod
    def _lines(rows: list[dict[str, float]], columns: list[str]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()


def log_step(trainer: Trainer) -> None:
    """At the end of a batch: logs the row that Lightning is about to log, if any.

    Lightning logs a step after the callbacks that save it: a run killed in between would lose the row of a saved step.
    """
    connector = trainer._logger_connector
    metrics = convert_tensors_to_scalars(connector.metrics["log"])
    if metrics and connector.should_update_logs:
        metrics.setdefault("epoch", trainer.current_epoch)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, trainer.fit_loop.epoch_loop._batches_that_stepped)


def sync_loggers(trainer: Trainer) -> None:
    """Before a save: what was logged up to its step is on the disk, or where it is kept, as far as a logger can say."""
    for logger in trainer.loggers:
        logger.sync()


NUM_COLUMNS = 3
MANY_ROWS = 1000  # from which the search for the best place of a legend takes long
NOT_DRAWN = re.compile(r"step|epoch|.*_h\d+|rollout/seconds")  # of values by horizon, only the means are drawn
LOG_SCALE_RATIO = 20  # of largest to smallest value, above which a linear axis is unreadable


class LossPlot(Callback):
    """Redraws the plot after each validation, at the end, and at the start, where a resumed run may have lost rows."""

    def __init__(self, metrics: Path, plot: Path):
        self.metrics, self.plot = metrics, plot
        self.drawn = 0  # size of the file at the last drawing

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        size = self.metrics.stat().st_size if trainer.is_global_zero else self.drawn
        if size != self.drawn:
            with not_vital(self.plot):
                plot_metrics(self.metrics, self.plot)
            self.drawn = size

    on_train_start = on_train_end = on_validation_end


def families(names: list[str]) -> dict[str, list[str]]:
    """Metrics by panel: `train/psnr`, `val/psnr` and `val/psnr_background` share the panel "psnr".

    A metric joins the shortest one that is its prefix up to a `_`, as a baseline does; `_mean` over the horizon is
    ignored.
    """
    bare = {name: name.split("/", 1)[-1].removesuffix("_mean") for name in names}
    panels: dict[str, list[str]] = {}
    for name, short in bare.items():
        heads = [other for other in bare.values() if short == other or short.startswith(f"{other}_")]
        panels.setdefault(min(heads, key=len), []).append(name)
    return dict(sorted(panels.items(), key=lambda panel: panel[0] != "loss"))  # the loss first


def wants_log_scale(values: list[float]) -> bool:
    """Whether curves of these values are unreadable on a linear axis and all positive."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) and max(positive) > LOG_SCALE_RATIO * min(positive)


def plot_metrics(metrics: Path, plot: Path) -> None:
    """Draws `metrics` (a metrics.csv) into the PNG `plot`, atomically; nothing where there are no rows."""
    rows = read_metrics(metrics)
    names = list(dict.fromkeys(name for row in rows for name in row if not NOT_DRAWN.fullmatch(name)))
    if not names:
        return
    panels = families(names)
    num_rows = -(-len(panels) // NUM_COLUMNS)
    figure = Figure(figsize=(5 * NUM_COLUMNS, 3.2 * num_rows))
    for index, (title, members) in enumerate(panels.items()):
        axes = figure.add_subplot(num_rows, NUM_COLUMNS, index + 1)
        values = []
        for name in members:
            steps, heights = zip(*((row["step"], row[name]) for row in rows if name in row), strict=True)
            axes.plot(steps, heights, label=name, linewidth=1, marker="." if len(steps) < 30 else None)
            values += heights
        if wants_log_scale(values):
            axes.set_yscale("log")
        axes.set(title=title, xlabel="step")
        whole_ticks(axes)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="best" if len(rows) < MANY_ROWS else "upper right")
    # a layout engine would measure every text several times, which takes longer than drawing
    margin = 0.5 / figure.get_figheight()
    figure.subplots_adjust(left=0.05, right=0.98, bottom=margin, top=1 - margin, hspace=0.45, wspace=0.2)
    save_figure(figure, plot)
