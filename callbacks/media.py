"""Pictures and videos of a run: files in its folder, and the same in every logger that can show them.

A file is the one truth: what a logger shows is what lies on disk. Only the first rank may call what is here.
"""

import io
import shutil
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from genie.common.media import read_mp4

PREFIX = "media/"


class MediaFolder:
    """`media/step_<n>/` of a run folder, a folder for each step at which something was drawn.

    Pictures are kept for good. Videos are the large part: those of the `keep_videos` newest steps stay.
    """

    def __init__(self, path: Path, keep_videos: int) -> None:
        self.path, self.keep_videos = path, keep_videos

    def begin(self, step: int) -> Path:
        """An empty folder for this step; what an interrupted run left in it goes."""
        folder = self.path / f"step_{step}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def drop_old_videos(self) -> None:
        """Deletes the videos of all steps but the newest."""
        folders = sorted(self.path.glob("step_*"), key=lambda folder: int(folder.name.removeprefix("step_")))
        for folder in folders[: -self.keep_videos] if self.keep_videos else folders:
            for video in folder.glob("*.mp4"):
                video.unlink()


def log_picture(trainer: Trainer, name: str, path: Path, step: int) -> None:
    """Shows a PNG under media/<name> in all loggers that can; `step`: optimizer steps done."""
    at = step - 1  # loggers count from 0, as for the figures of the same step
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(PREFIX + name, [str(path)], at)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as image:
                _add_to_tensorboard(logger, name, path.read_bytes(), image.size, at)


def log_video(trainer: Trainer, name: str, path: Path, step: int) -> None:
    """Shows an MP4 likewise. TensorBoard shows no videos but moving pictures: it gets a GIF of 256 colours."""
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
    """Adds a picture as it is. TensorBoard's own `add_video` needs moviepy, `add_image` encodes anew."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=encoded)
    summary = Summary(value=[Summary.Value(tag=PREFIX + name, image=image)])
    logger.experiment.file_writer.add_summary(summary, step)
