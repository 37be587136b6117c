"""Loggers and media of a run.

metrics.csv is always written; TensorBoard, Weights & Biases and MLflow by choice, several at once if wanted, with the
same curves, pictures, videos and tables under the same names. Pictures and videos are files in the run folder, and
loggers show those files. Only the first rank may call the functions for media and tables.
"""

import math
import secrets
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from callbacks.metrics_csv import MetricsCSV
from callbacks.mlflow_run import MlflowRunLogger, store
from callbacks.progress import Throughput
from callbacks.tensorboard_run import TensorBoardRunLogger
from callbacks.wandb_run import WandbRunLogger, wandb_mode
from genie.common.errors import UserError
from genie.common.settings.training import MlflowLogger, WandbLogger
from genie.evaluation.catalogue import direction
from genie.runs.metrics_file import read_metrics

MEDIA, TABLES = "media/", "tables/"
EXTRAS = ("tensorboard", "wandb", "mlflow")  # loggers whose packages, of the same names, do not come with this one
KEYS = {"wandb": tuple(WandbLogger.model_fields), "mlflow": tuple(MlflowLogger.model_fields)}
SUMMARY = ["metric", "last", "best", "best at step"]


class MediaFolder:
    """`media/step_<n>/` of a run folder. Images are kept; only the `keep_videos` newest steps keep their videos."""

    def __init__(self, path: Path, keep_videos: int) -> None:
        self.path, self.keep_videos = path, keep_videos

    def begin(self, step: int) -> Path:
        """An empty folder for this step, without leftovers of an interrupted run."""
        folder = self.path / f"step_{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def drop_old_videos(self) -> None:
        folders = sorted(self.path.glob("step_*"), key=lambda folder: int(folder.name.removeprefix("step_")))
        for folder in folders[: -self.keep_videos] if self.keep_videos else folders:
            for video in folder.glob("*.mp4"):
                video.unlink()


def log_picture(trainer: Trainer, name: str, path: Path, step: int) -> None:
    """Shows a PNG as media/<name> in the loggers that can; `step`: optimizer steps done."""
    for logger in _others(trainer):
        logger.log_picture(MEDIA + name, path, step - 1)  # loggers count from 0, also for the metrics of the step


def log_video(trainer: Trainer, name: str, path: Path, step: int) -> None:
    """Shows an MP4 likewise."""
    for logger in _others(trainer):
        logger.log_video(MEDIA + name, path, step - 1)


def log_table(trainer: Trainer, name: str, columns: list[str], rows: list[list[str]], step: int) -> None:
    """Shows a table as tables/<name> likewise."""
    for logger in _others(trainer):
        logger.log_table(TABLES + name, columns, rows, step - 1)


def _others(trainer: Trainer) -> list[Any]:
    return [logger for logger in trainer.loggers if not isinstance(logger, MetricsCSV)]


def build_loggers(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> list[Logger]:
    """Loggers of `settings` (the group `logger`, {name: its keys}); `checkpoint`: the state that a run resumes from."""
    resume_step = checkpoint["global_step"] if checkpoint else None
    metrics = folder / "metrics.csv"
    loggers: list[Logger] = [MetricsCSV(metrics, resume_step)]
    for name in settings:
        if name in EXTRAS and not _installed(name):
            raise UserError(f"logger={name} needs a package: pip install 'genie-world[{name}]'")
        if lacking := [key for key in KEYS.get(name, ()) if key not in settings[name]]:
            raise UserError(f"logger.{name} has no {lacking[0]}: choose it, logger={name}, before you set its keys")
    former = [] if resume_step is None else [row for row in read_metrics(metrics) if row["step"] <= resume_step]
    runs = former_runs(checkpoint)
    if "tensorboard" in settings:
        loggers.append(TensorBoardRunLogger(folder, resume_step, former))
    if "wandb" in settings:
        loggers.append(_wandb(settings["wandb"], folder, label, runs.get("wandb"), former))
    if "mlflow" in settings:
        keys = settings["mlflow"]
        loggers.append(MlflowRunLogger(store(keys), keys, label, runs.get("mlflow"), former))
    return loggers


def _installed(package: str) -> bool:
    """Whether a package is installed. To be importable is not enough: wandb leaves folders of its name."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def former_runs(checkpoint: dict | None) -> dict[str, str]:
    """{logger: id of the run} that the training of a checkpoint logged into."""
    states = (checkpoint or {}).get("callbacks", {})
    if LoggedRuns.__qualname__ in states:
        return states[LoggedRuns.__qualname__]["ids"]
    earlier = states.get("WandbRun")  # of versions that knew no other logger
    return {"wandb": earlier["run_id"]} if earlier else {}


class LoggedRuns(Callback):
    """Keeps the ids of the runs in Weights & Biases and MLflow in the checkpoint, so that a resumed training goes on in
    them, also of a logger that was left out in between."""

    def __init__(self, loggers: list[Logger]) -> None:
        self.loggers = loggers
        self.former: dict[str, str] = {}

    def state_dict(self) -> dict[str, dict[str, str]]:
        ids = {logger.name_of_group: logger.version for logger in self.loggers if hasattr(logger, "name_of_group")}
        return {"ids": self.former | {name: str(version) for name, version in ids.items() if version}}

    def load_state_dict(self, state_dict: dict[str, dict[str, str]]) -> None:
        self.former = state_dict["ids"]


def logger_callbacks(loggers: list[Logger]) -> list[Callback]:
    """Callbacks that loggers need, and those of what metrics.csv does not hold."""
    return [LoggedRuns(loggers), Throughput(), Summary()] if len(loggers) > 1 else [LoggedRuns(loggers)]


def _wandb(
    settings: dict[str, Any], folder: Path, label: str, run_id: str | None, former: list[dict[str, float]]
) -> WandbRunLogger:
    from wandb import Settings

    mode = wandb_mode(settings["mode"])
    return WandbRunLogger(
        former=former,
        is_new=run_id is None,
        name=label,
        id=run_id or secrets.token_hex(4),
        save_dir=folder,
        **{key: settings[key] for key in KEYS["wandb"]} | {"mode": mode},
        resume="allow" if mode == "online" else None,
        settings=Settings(silent=True, console="off", init_timeout=60),
    )


class Summary(Callback):
    """Shows the last and the best value of each metric as a table at the end of the training."""

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            metrics = next(logger.path for logger in trainer.loggers if isinstance(logger, MetricsCSV))
            log_table(trainer, "metrics", SUMMARY, summary(metrics), trainer.global_step)


def summary(metrics: Path) -> list[list[str]]:
    """Rows of the table (`SUMMARY`) from a metrics.csv; empty cells where no value of a metric is better."""
    rows = read_metrics(metrics)
    found = []
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch")):
        curve = [(row["step"], row[name]) for row in rows if name in row]
        numbers = [point for point in curve if not math.isnan(point[1])]
        choose = {"min": min, "max": max}.get(direction(name))
        step, best = choose(numbers, key=lambda point: point[1]) if choose and numbers else ("", "")
        found.append([name, *map(str, (curve[-1][1], best, step))])  # a column has one type
    return found
