"""metrics.csv: one row each time something was logged. Lightning's own logger deletes it when a run goes on.

Columns: `step` (optimizer steps done, so the last row of a run of 300 steps says 300), then the metrics in
the order in which they first came; a cell is empty where a row has no such value. Floats are written in full,
so two runs can be compared bit for bit.

Rows that the disk does not take wait in memory for the next one.
"""

import csv
import io
import os
import sys
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from genie.common.errors import reason
from genie.common.files import replacing, sync
from genie.runs.metrics_file import read_metrics


class MetricsCSV(Logger):
    """Appends to `path`. Rows of a former run that lie after `resume_step` are removed; None: all of them."""

    def __init__(self, path: Path, resume_step: int | None = None):
        super().__init__()
        self.path, self.resume_step = Path(path), resume_step
        self.columns: list[str] = []
        self.newest = ""
        self.waiting: list[dict[str, float]] = []  # rows that could not be written

    @property
    def experiment(self) -> Path:
        """The file, begun at the first use: Lightning asks for it when a run starts."""
        if not self.columns:
            self.go_back(self.resume_step)
        return self.path

    @rank_zero_only
    def go_back(self, step: int | None) -> None:
        """Removes rows that lie after `step`; None: all rows."""
        rows = [] if step is None else [row for row in read_metrics(self.path) if row["step"] <= step]
        self._rewrite(["step", *dict.fromkeys(name for row in rows for name in row if name != "step")], rows)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> int:
        return 0

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: they are in config.yaml beside the file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Writes a row, unless it is the one that was written last (`log_step`)."""
        row = {"step": step + 1, **metrics}  # Lightning counts from 0
        if repr(row) == self.newest:
            return
        self.newest = repr(row)
        self.waiting.append(row)
        try:
            self._write(self.experiment)
        except OSError as error:
            if len(self.waiting) == 1:
                print(f"WARNING: {self.path} could not be written ({reason(error)})", file=sys.stderr, flush=True)

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
                os.truncate(path, size)  # no half row
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
    """At the end of a batch: writes the row that Lightning is about to log, where it is about to.

    Lightning logs a step after the callbacks that save it. A run that was killed in between would have the step and
    not its row.
    """
    connector = trainer._logger_connector
    metrics = convert_tensors_to_scalars(connector.metrics["log"])
    for logger in trainer.loggers:
        if isinstance(logger, MetricsCSV):
            if metrics and connector.should_update_logs:
                metrics.setdefault("epoch", trainer.current_epoch)
                logger.log_metrics(metrics, trainer.fit_loop.epoch_loop._batches_that_stepped)
            logger.sync()
