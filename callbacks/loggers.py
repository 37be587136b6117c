"""Loggers and media of a run.

metrics.csv is always written, Weights & Biases or TensorBoard by choice. Images and videos are files in the run folder,
and loggers show those files. Only the first rank may call the functions for media.
"""

import importlib.util
import io
import secrets
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from callbacks.metrics_csv import MetricsCSV
from callbacks.progress import Throughput
from callbacks.wandb_run import WandbRun, WandbRunLogger, wandb_mode
from genie.common.errors import UserError
from genie.common.media import read_mp4

PREFIX = "media/"


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
    at = step - 1  # loggers count from 0, also for the metrics of the step
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(PREFIX + name, [str(path)], at)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as image:
                _add_to_tensorboard(logger, name, path.read_bytes(), image.size, at)


def log_video(trainer: Trainer, name: str, path: Path, step: int) -> None:
    """Shows an MP4 likewise; TensorBoard, which shows no videos, gets an animated GIF of 256 colours."""
    at = step - 1
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_video(PREFIX + name, [str(path)], at, format=["mp4"])
        elif isinstance(logger, TensorBoardLogger):
            video, fps = read_mp4(path)
            first, *others = [Image.fromarray(frame) for frame in video]
            gif = io.BytesIO()
            first.save(gif, format="gif", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
            _add_to_tensorboard(logger, name, gif.getvalue(), first.size, at)


def _add_to_tensorboard(logger: TensorBoardLogger, name: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
    """Adds an encoded image as it is: TensorBoard's `add_video` needs moviepy, `add_image` encodes again."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=encoded)
    summary = Summary(value=[Summary.Value(tag=PREFIX + name, image=image)])
    logger.experiment.file_writer.add_summary(summary, step)


def build_loggers(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> list[Logger]:
    """Loggers of `settings` (the group `logger`); `checkpoint`: the state that a run resumes from."""
    resume_step = checkpoint["global_step"] if checkpoint else None
    loggers: list[Logger] = [MetricsCSV(folder / "metrics.csv", resume_step)]
    if settings["name"] == "wandb":
        loggers.append(_wandb(settings, folder, label, checkpoint))
    elif settings["name"] == "tensorboard":
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("logger=tensorboard needs TensorBoard: pip install 'genie-world[tensorboard]'")
        loggers.append(TensorBoardLogger(folder, name=None, version="tensorboard"))
    return loggers


def logger_callbacks(loggers: list[Logger]) -> list[Callback]:
    runs = [WandbRun(logger.version) for logger in loggers if isinstance(logger, WandbRunLogger)]
    return [*runs, Throughput()] if len(loggers) > 1 else runs


def _wandb(settings: dict[str, Any], folder: Path, label: str, checkpoint: dict | None) -> WandbRunLogger:
    try:
        from wandb import Settings  # not `import wandb`: a folder of that name, which it leaves, would be enough
    except ImportError:
        raise UserError("logger=wandb needs Weights & Biases: pip install 'genie-world[wandb]'") from None
    former = (checkpoint or {}).get("callbacks", {}).get(WandbRun.__qualname__)
    run_id = former["run_id"] if former else secrets.token_hex(4)
    mode = wandb_mode(settings["mode"])
    return WandbRunLogger(
        name=label,
        id=run_id,
        save_dir=folder,
        **{key: settings[key] for key in ("project", "entity", "group", "job_type")},
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=Settings(silent=True, console="off", init_timeout=60),
    )
