"""TensorBoard logger of a run: curves, pictures, videos as animated GIFs, tables as texts, and hyperparameters."""

import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from callbacks.points import Points
from genie.common.media import read_mp4
from genie.runs.folder import flatten

FOLDER = "tensorboard"


class TensorBoardRunLogger(TensorBoardLogger):
    """Writes to `folder`/tensorboard. `resume_step`: steps done where the run goes on; TensorBoard then drops what a
    killed process logged beyond."""

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        super().__init__(folder, name=None, version=FOLDER, default_hp_metric=False, purge_step=resume_step)
        self.points = Points()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:
        """The keys of the command line."""
        from torch.utils.tensorboard.summary import hparams

        values = {key: value if isinstance(value, bool | int | float | str) else str(value)
                  for key, value in flatten(params["config"]).items()}  # fmt: skip
        for summary in hparams(values, {}):
            self.experiment.file_writer.add_summary(summary)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        super().log_metrics(self.points.new(metrics, step), step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Adds a PNG as it is."""
        with Image.open(path) as image:
            self._add(name, path.read_bytes(), image.size, step)

    def log_video(self, name: str, path: Path, step: int) -> None:
        """Adds an MP4 as an animated GIF of 256 colours: TensorBoard shows no videos."""
        video, fps = read_mp4(path)
        first, *others = [Image.fromarray(frame) for frame in video]
        gif = io.BytesIO()
        first.save(gif, format="gif", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
        self._add(name, gif.getvalue(), first.size, step)

    def log_table(self, name: str, columns: list[str], rows: list[list[str]], step: int) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        self.experiment.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines), step)

    @rank_zero_only
    def sync(self) -> None:
        self.experiment.flush()

    def save(self) -> None:
        """Writes no file of hyperparameters: config.yaml is one."""

    @rank_zero_only
    def go_back(self, step: int) -> None:
        """Drops what follows a step."""
        self.experiment.close()
        self._experiment, self._kwargs["purge_step"] = None, step
        self.points.go_back()

    def _add(self, name: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        """Adds an encoded image: `add_video` needs moviepy, `add_image` encodes again."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=encoded)
        self.experiment.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
