"""metrics.csv: one row each time something was logged. Lightning's own logger deletes it when a run goes on.

Columns: `step` (optimizer steps done, so the last row of a run of 300 steps says 300), then the metrics in
the order in which they first came; a cell is empty where a row has no such value. Floats are written in full,
so two runs can be compared bit for bit.
"""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.metrics_file import read_metrics
from genie.files import replacing


class MetricsCSV(Logger):
    """Appends to `path`. Rows of a former run that lie after `resume_step` are removed; None: all of them."""

    def __init__(self, path: Path, resume_step: int | None = None):
        super().__init__()
        self.path, self.resume_step = Path(path), resume_step
        self.columns: list[str] = []

    @property
    def experiment(self) -> Path:
        """The file, begun at the first use: Lightning asks for it when a run starts."""
        if not self.columns:
            rows = [] if self.resume_step is None else read_metrics(self.path)
            rows = [row for row in rows if row["step"] <= self.resume_step]
            self.columns = ["step", *dict.fromkeys(name for row in rows for name in row if name != "step")]
            self._rewrite(rows)
        return self.path

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
        path, row = self.experiment, {"step": step + 1, **metrics}  # Lightning counts from 0
        new = [name for name in row if name not in self.columns]
        if new:
            rows = read_metrics(path)
            self.columns += new
            self._rewrite([*rows, row])
            return
        with open(path, "a", newline="") as file:
            file.write(self._lines([row]))

    @rank_zero_only
    def _rewrite(self, rows: list[dict[str, float]]) -> None:
        with replacing(self.path, "w", newline="") as file:
            file.write(",".join(self.columns) + "\n" + self._lines(rows))

    def _lines(self, rows: list[dict[str, float]]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()
