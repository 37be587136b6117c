"""Real rollouts while the dynamics trains, and pictures of every stage, on clips that are not trained on.

The parts are those of `python -m genie.evaluate`, with the stage's own modules in memory (its averaged weights, where
the run has them). They draw from nothing but the clips and counted noise, so training goes on as if they had not been.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from callbacks.media import MediaFolder, log_picture, log_video
from callbacks.rollout_parts import PARTS, SHOWN_AS, Look
from data_modules.clip_data_module import ClipDataModule
from genie.common.config_types import require_number, require_whole
from genie.common.errors import UserError
from genie.evaluation.attention import AttentionSettings
from genie.evaluation.clips import Clips, read_clips
from genie.evaluation.trained_run import LeftOut, LiveRun
from genie.world.sampler import Sampler
from genie.world.sampler_choice import with_overrides

GROUP = "callbacks.rollouts."


class Rollouts(Callback):
    """Looks at the stage in the first validation after every `every_n_train_steps` steps, and in the last one.

    Figures are logged as `rollout/…` beside those of the validation; pictures and videos go to `folder`/step_<n>/ and
    as `media/…` to the loggers. A line says what came out and what it cost. It has to come before the callback that
    averages the weights, which takes them back at the end of the validation.

    Of several processes the first does all of it and the others wait for the figures.

    Args:
        label: what is trained, at the beginning of the line.
        folder: for pictures and videos.
        settings: the group `callbacks.rollouts`.
        seed: of the run.

    Raises UserError for a setting that cannot be.
    """

    def __init__(self, label: str, folder: Path, settings: dict[str, Any], seed: int) -> None:
        check(settings)
        self.label, self.settings, self.seed = label, settings, seed
        self.media = MediaFolder(folder, settings["keep_videos"])
        self.every = settings["every_n_train_steps"] or 0
        self.last_step = 0  # at which it looked
        self.clips: Clips | None = None
        self.videos: Clips | None = None  # of FVD
        self.features = video_features() if self.every and settings["fvd_videos"] else None
        self.started, self.spent = time.monotonic(), 0.0

    def state_dict(self) -> dict[str, int]:
        return {"last_step": self.last_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.last_step = state_dict["last_step"]

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started, self.spent = time.monotonic(), 0.0
        self.every = self.every if module.options["name"] in PARTS else 0
        if not self.every:
            return
        try:
            if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
                raise LeftOut("the model is spread over processes")
            length = self.settings["prompt_frames"] + self.settings["horizon"]
            self.clips = self._clips(trainer.datamodule, length, self.settings["num_clips"])
            if self.features is not None:
                length = self.settings["prompt_frames"] + self.features.num_frames
                self.videos = self._clips(trainer.datamodule, length, self.settings["fvd_videos"])
        except (LeftOut, UserError) as reason:
            self.every = 0
            if trainer.is_global_zero:
                print(f"{self.label}: no rollouts and pictures of held-out clips: {reason}")

    def _clips(self, data: ClipDataModule, length: int, count: int) -> Clips:
        return read_clips(data.clips("val", length, count), data.info, self.settings["batch_size"])

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if trainer.state.fn != "fit" or not self._is_due(step, trainer.max_steps):
            return
        self.last_step, started = step, time.monotonic()
        figures = self._look(trainer, module, step) if trainer.is_global_zero else {}
        figures = trainer.strategy.broadcast(figures)
        seconds = time.monotonic() - started
        self.spent += seconds
        if figures:
            figures["seconds"] = seconds
        module.log_dict({f"rollout/{name}": value for name, value in figures.items()}, sync_dist=True)
        share = self.spent / (time.monotonic() - self.started)
        module.print(f"{self.label} step {step}/{trainer.max_steps}  {summary(figures)}held-out clips: {seconds:.1f} s "
                     f"({share:.1%} of the time so far), pictures in {self.media.path}/step_{step}")  # fmt: skip

    def _is_due(self, step: int, max_steps: int) -> bool:
        if not self.every or step == self.last_step:
            return False
        return step // self.every > self.last_step // self.every or 0 <= max_steps <= step

    def _look(self, trainer: Trainer, module: LightningModule, step: int) -> dict[str, float]:
        """The figures of one look; draws and shows the pictures."""
        folder = self.media.begin(step)
        subject = LiveRun(module, folder, self.settings["sampler"])
        with undisturbed(trainer, module):
            look = Look(subject, self.clips, self.settings, self.seed, folder, self.videos, self.features)
            figures = PARTS[module.options["name"]](look)
        videos = {path.stem: path for path in folder.glob("*.mp4")}
        pictures = {path.stem: path for path in folder.glob("*.png") if path.stem not in videos}
        for show, files in ((log_video, videos), (log_picture, pictures)):
            for stem in sorted(files):
                show(trainer, SHOWN_AS.get(stem, stem), files[stem], step)
        self.media.drop_old_videos()
        return figures


@contextmanager
def undisturbed(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """In the precision of the run's validation; metrics count what this process sees; nothing is compiled."""
    with ExitStack() as stack:
        stack.enter_context(trainer.precision_plugin.val_step_context())
        if trainer.world_size > 1:  # torchmetrics would wait for ranks that count nothing
            stack.enter_context(mock.patch("torchmetrics.metric.jit_distributed_available", lambda: False))
        if module.config["compile"]:  # for shapes that come once in a thousand steps
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def summary(figures: dict[str, float]) -> str:
    """The few figures that say how it goes; nothing where there are none."""
    if not figures:
        return ""
    ours, copied, still = (figures[f"psnr{name}_mean"] for name in ("", "_copy_last", "_background"))
    return (
        f"rollout PSNR {ours:.2f} (copy last {copied:.2f}, background {still:.2f}), "
        f"{figures['passes_per_frame']:.1f} passes per frame; "
    )


def video_features() -> Any:
    """The network of FVD. Raises UserError where its weights cannot be had."""
    from genie.metrics.video_features import VideoFeatures

    return VideoFeatures()


def check(settings: dict[str, Any]) -> None:
    """Raises UserError for the first value that cannot be."""
    whole = ("num_clips", "prompt_frames", "horizon", "batch_size")
    require_whole(settings, *whole, prefix=GROUP)
    require_whole(settings, "every_n_train_steps", "grid_frames", "keep_videos", "fvd_videos", least=0, prefix=GROUP)
    require_number(settings, "fps", above=0, most=1000)
    for t in settings["delta_psnr_t"]:
        if not isinstance(t, int) or not 1 <= t <= settings["horizon"]:
            raise UserError(f"{GROUP}delta_psnr_t={settings['delta_psnr_t']}: {t} is not in 1 … {settings['horizon']}")
    with_overrides(Sampler(), settings["sampler"])
    AttentionSettings(**settings["attention"])
