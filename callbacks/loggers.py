"""Loggers of a run: metrics.csv always, Weights & Biases or TensorBoard beside it by choice."""

import importlib.util
import netrc
import os
import secrets
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from callbacks.metrics_csv import MetricsCSV
from genie.errors import UserError

MODES = ("auto", "online", "offline", "disabled")
CONNECT_SECONDS = 3.0


class WandbRun(Callback):
    """Keeps the id of the Weights & Biases run in the checkpoint, so that a resumed run goes on in it."""

    def __init__(self, run_id: str):
        self.run_id = run_id

    def state_dict(self) -> dict[str, str]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        self.run_id = state_dict["run_id"]


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
    return [WandbRun(logger.version) for logger in loggers if isinstance(logger, WandbLogger)]


def _wandb(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> WandbLogger:
    import wandb

    former = (checkpoint or {}).get("callbacks", {}).get(WandbRun.__qualname__)
    run_id = former["run_id"] if former else secrets.token_hex(4)
    mode = wandb_mode(settings["mode"])
    return WandbLogger(
        name=label,
        id=run_id,
        save_dir=folder,
        project=settings["project"],
        entity=settings["entity"],
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(silent=True, console="off", init_timeout=60),
    )


def wandb_mode(choice: str) -> str:
    """The mode for wandb. "auto": WANDB_MODE, else online where there is a key and the server answers."""
    if choice not in MODES:
        raise UserError(f"logger.mode={choice} must be one of: {', '.join(MODES)}")
    if choice != "auto":
        return choice
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    address = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if not (os.environ.get("WANDB_API_KEY") or _in_netrc(address.hostname)):
        return "offline"
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return "offline"
    return "online"


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
