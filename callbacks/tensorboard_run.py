"""TensorBoard logger of a run: curves, pictures, videos as animated GIFs, tables as texts, and hyperparameters."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from callbacks.points import Points, log_former
from genie.common.errors import reason, warn
from genie.common.media import read_mp4
from genie.runs.folder import flatten

FOLDER = "tensorboard"


class TensorBoardRunLogger(TensorBoardLogger):
    """Writes to `folder`/tensorboard. What fails there is said once, and the training goes on.

    Args:
        resume_step: steps done where the run goes on; TensorBoard then drops what a killed process logged beyond.
        former: rows of metrics.csv up to there, for a folder that has no events yet.
    """

    def __init__(self, folder: Path, resume_step: int | None, former: Sequence[dict[str, float]] = ()) -> None:
        super().__init__(folder, name=None, version=FOLDER, default_hp_metric=False, purge_step=resume_step)
        self.points = Points()
        self.has_failed = False
        self.former = () if any((folder / FOLDER).glob("events.*")) else former

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:
        """The keys of the command line, and the former rows."""
        from torch.utils.tensorboard.summary import hparams

        values = {key: value if isinstance(value, bool | int | float | str) else str(value)
                  for key, value in flatten(params["config"]).items()}  # fmt: skip
        with self._going_on():
            for summary in hparams(values, {}):
                self.experiment.file_writer.add_summary(summary)
        log_former(self, self.former)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        with self._going_on():
            super().log_metrics(self.points.new(metrics, step), step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Adds a PNG as it is."""
        with self._going_on(), Image.open(path) as image:
            self._add(name, path.read_bytes(), image.size, step)

    def log_video(self, name: str, path: Path, step: int) -> None:
        """Adds an MP4 as an animated GIF of 256 colours: TensorBoard shows no videos."""
        with self._going_on():
            video, fps = read_mp4(path)
            first, *others = [Image.fromarray(frame) for frame in video]
            gif = io.BytesIO()
            first.save(gif, format="gif", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
            self._add(name, gif.getvalue(), first.size, step)

    def log_table(self, name: str, columns: list[str], rows: list[list[str]], step: int) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        with self._going_on():
            self.experiment.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines), step)

    @rank_zero_only
    def sync(self) -> None:
        with self._going_on():
            self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        with self._going_on():
            super().finalize(status)

    def save(self) -> None:
        """Writes no file of hyperparameters: config.yaml is one."""

    @rank_zero_only
    def go_back(self, step: int) -> None:
        """Drops what follows a step."""
        self.experiment.close()
        self._experiment, self._kwargs["purge_step"] = None, step
        self.points.go_back()

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """A disk that is full is no reason to end a training."""
        try:
            yield
        except Exception as error:
            if not self.has_failed:
                why = reason(error.__context__ or error)[:200]  # Lightning says that a value is not supported
                warn(f"TensorBoard in {self.log_dir} failed ({why}): training goes on, metrics.csv has all of it")
            self.has_failed = True

    def _add(self, name: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        """Adds an encoded image: `add_video` needs moviepy, `add_image` encodes again."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=encoded)
        self.experiment.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
