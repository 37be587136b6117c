"""Loggers of a run: metrics.csv always, Weights & Biases or TensorBoard beside it by choice."""

import importlib.util
import secrets
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from callbacks.metrics_csv import MetricsCSV
from callbacks.throughput import Throughput
from callbacks.wandb_run import WandbRun, WandbRunLogger
from callbacks.wandb_server import wandb_mode
from genie.common.errors import UserError


def build_loggers(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> list[Logger]:
    """Loggers that `settings` (the group `logger`) asks for; `checkpoint`: what a run goes on from."""
    resume_step = checkpoint["global_step"] if checkpoint else None
    loggers: list[Logger] = [MetricsCSV(folder / "metrics.csv", resume_step)]
    if settings["name"] == "wandb":
        loggers.append(_wandb(settings, folder, label, checkpoint))
    elif settings["name"] == "tensorboard":
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("logger=tensorboard needs TensorBoard: pip install tensorboard")
        loggers.append(TensorBoardLogger(folder, name=None, version="tensorboard"))
    return loggers


def logger_callbacks(loggers: list[Logger]) -> list[Callback]:
    """Callbacks that the loggers need."""
    runs = [WandbRun(logger.version) for logger in loggers if isinstance(logger, WandbRunLogger)]
    return [*runs, Throughput()] if len(loggers) > 1 else runs


def _wandb(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> WandbRunLogger:
    import wandb

    former = (checkpoint or {}).get("callbacks", {}).get(WandbRun.__qualname__)
    run_id = former["run_id"] if former else secrets.token_hex(4)
    mode = wandb_mode(settings["mode"])
    return WandbRunLogger(
        name=label,
        id=run_id,
        save_dir=folder,
        project=settings["project"],
        entity=settings["entity"],
        group=settings["group"],
        job_type=settings["job_type"],
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(silent=True, console="off", init_timeout=60),
    )
