"""Weights & Biases run: its mode, its logger, and its id in the checkpoint.

The mode is chosen without importing wandb: nothing here asks for a key or waits long.
"""

import netrc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.points import Points, log_former
from callbacks.wandb_file import X_AXIS, logged_points
from genie.common.network import unreachable
from genie.common.profiling import software_versions
from genie.evaluation.catalogue import direction

PACKAGES = ("genie-world", "torch", "lightning", "torchmetrics", "hydra-core", "numpy", "wandb")  # that affect results


def wandb_mode(choice: str) -> str:
    """The mode for wandb. "auto": WANDB_MODE, else online where there is a key and the server answers."""
    if choice != "auto":
        return choice
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    return "offline" if wandb_missing() else "online"


def wandb_missing() -> str | None:
    """What is missing to reach the server, None if nothing."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    host = urlparse(server).hostname
    try:
        has_key = os.environ.get("WANDB_API_KEY") or netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        has_key = False
    if not has_key:
        return "key (`wandb login`)"
    why = unreachable(server)
    return None if why is None else f"connection to {host} ({why})"


class WandbRunLogger(WandbLogger):
    """Lightning's logger with top-level keys of the configuration (`optimizer.lr`, as on the command line), versions of
    packages, and the best value of each metric in the summary (`val/loss.min`).

    The run ends with the training, so that the next job of a sweep gets its own.

    Args:
        former: rows of metrics.csv up to the step that a run goes on from. W&B's process ends with a killed training
            and loses what it had not written: those points are logged again, where its files are there to compare.
        is_new: whether the id is, so that W&B has none of these rows.
        settings: those of Lightning's logger.
    """

    name_of_group = "wandb"  # `name` is that of the project

    def __init__(self, former: Sequence[dict[str, float]] = (), is_new: bool = False, **settings: Any):
        super().__init__(**settings)
        self.defined: set[str] = set()
        here = Path(settings["save_dir"])
        kept = any(here.glob(f"wandb/*-{settings['id']}/*.wandb")) if former else False
        self.former = former if kept or is_new else ()  # what files that are gone held, nobody knows: it is not doubled
        self.points = Points(logged_points(here, settings["id"]) if kept else ())

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:
        super().log_hyperparams({**params["config"], "versions": software_versions(PACKAGES)})
        log_former(self, self.former)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        metrics = self.points.new(metrics, step)
        for name in metrics.keys() - self.defined:  # W&B takes no patterns for this
            if best := direction(name):
                self.experiment.define_metric(name, step_metric=X_AXIS, step_sync=True, summary=f"{best},last")
            self.defined.add(name)
        if metrics:
            super().log_metrics(metrics, step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        self.log_image(name, [str(path)], step)  # by `log_metrics`

    def log_video(self, name: str, path: Path, step: int) -> None:
        super().log_video(name, [str(path)], step, format=["mp4"])

    def log_table(self, name: str, columns: list[str], rows: list[list[str]], step: int) -> None:
        super().log_table(name, columns, rows, step=step)

    def sync(self) -> None:
        """Does nothing: a process of W&B writes what it gets."""

    def go_back(self, step: int) -> None:
        """W&B takes no point back: steps that are trained anew are there twice."""
        self.points.go_back()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None
