"""Rollouts, images and videos of held-out clips while a stage trains.

The parts of `python -m genie.evaluate` that concern the stage, with its modules in memory (and its averaged weights,
where the run has them). They draw into a folder under the names of the evaluation and return metrics to log. Their
randomness depends only on the clips and counted noise, so they do not affect the training.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from callbacks.loggers import MediaFolder, log_picture, log_video
from data_modules.clip_data_module import ClipDataModule
from data_modules.held_out_clips import Clips, read_clips
from genie.common.cli import wants_trace
from genie.common.errors import UserError, failure, warn
from genie.common.settings.training import Attention
from genie.common.settings.world import Sampled
from genie.evaluation.action_grid import GridSettings, draw_action_grid
from genie.evaluation.attention import draw_attention
from genie.evaluation.latent_actions import evaluate_lam, latent_labels, true_names
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout, true_actions
from genie.evaluation.tokenizer import evaluate_tokenizer
from genie.evaluation.trained_run import LeftOut, LiveRun
from genie.metrics.actions import ActionAlignment

GROUP = "callbacks.rollouts."
STRICT = "GENIE_STRICT"  # set in the environment, what fails here ends the training, as tests want it
# files of the evaluation that loggers show under another name
SHOWN_AS = {
    "tokenizer": "reconstruction",
    "lam": "prediction",
    "lam_confusion": "confusion",
    "lam_effects": "effects",
    "rollout_psnr": "horizon",
}
GRID_PROMPTS = 2  # columns of the action grid


@dataclass(frozen=True)
class StageEvaluation:
    """One evaluation of a stage in training: its modules, the clips, the group `callbacks.rollouts`, the seed, and the
    folder for files; for FVD its clips `videos` and its network `features`."""

    subject: LiveRun
    clips: Clips
    settings: dict[str, Any]
    seed: int
    folder: Path
    videos: Clips | None = None
    features: Any = None


def tokenizer(stage: StageEvaluation) -> dict[str, float]:
    """tokenizer.mp4, codebook.png, attention.png; the metrics are those of validation."""
    evaluate_tokenizer(stage.subject.tokenizer, stage.clips, stage.folder, stage.settings["fps"])
    _attention(stage, "tokenizer")
    return {}


def lam(stage: StageEvaluation) -> dict[str, float]:
    """lam.mp4 and, where the data has true actions, lam_confusion.png; the metrics are those of validation."""
    evaluate_lam(stage.subject.lam, stage.clips, stage.folder, stage.settings["fps"])
    return {}


def dynamics(stage: StageEvaluation) -> dict[str, float]:
    """rollout.mp4, rollout_psnr.png, action_grid.{mp4,png}, attention.png, and the metrics of rollouts."""
    settings = stage.settings
    prompt, horizon, times = settings["prompt_frames"], settings["horizon"], tuple(settings["delta_psnr_t"])
    rollout = RolloutSettings(prompt, horizon, times, 1, stage.seed, settings["fps"])
    measured = evaluate_rollout(stage.subject, stage.clips, rollout, stage.folder)
    if settings["grid_frames"]:
        grid = GridSettings(prompt, settings["grid_frames"], stage.seed, settings["fps"])
        draw_action_grid(stage.subject, stage.clips.sample(GRID_PROMPTS), action_labels(stage), grid, stage.folder)
    _attention(stage, "dynamics")
    metrics = rollout_metrics(measured)
    if stage.videos is not None:
        from genie.evaluation.fvd import video_distances  # loads the network of FVD

        metrics |= video_distances(stage.subject, stage.videos, stage.features, prompt, stage.seed)
    return metrics


def cotrain(stage: StageEvaluation) -> dict[str, float]:
    return lam(stage) | dynamics(stage)


Part = Callable[[StageEvaluation], dict[str, float]]
PARTS: dict[str, Part] = {"tokenizer": tokenizer, "lam": lam, "dynamics": dynamics, "cotrain": cotrain}


def rollout_metrics(measured: dict[str, dict]) -> dict[str, float]:
    """The metrics of `evaluate_rollout` to log, by their name after `rollout/`."""
    rollout, delta = measured["rollout"], measured.get("delta_psnr", {})
    curve = {f"psnr_h{number}": value for number, value in enumerate(rollout["psnr_by_horizon"], 1)}
    means = {name: rollout[name] for name in ("psnr_mean", "psnr_copy_last_mean", "psnr_background_mean")}
    deltas = {f"delta_psnr_{name}": value for name, value in delta.items() if not name.endswith("_spread")}
    rallies = {
        f"{name}_rally_{metric}": found["rally"]["generated"][metric]
        for name, found in measured.get("rollout_objects", {}).items()
        if "rally" in found
        for metric in ("present", "in_place", "doubled")
    }
    return {**curve, **means, **deltas, **rallies, "passes_per_frame": rollout["passes_per_frame"]}


def action_labels(stage: StageEvaluation) -> list[str]:
    """Labels of the world's actions: latent ones are named after the true ones that they match in these clips."""
    subject, clips = stage.subject, stage.clips
    num_actions, names = subject.world.num_actions, true_names(clips)
    if subject.takes_environment_actions and len(names) == num_actions:
        return names
    confusion = None
    if clips.actions is not None and names:
        alignment = ActionAlignment(num_actions, len(names))
        alignment.update(true_actions(subject, clips).cpu(), clips.actions[:, :-1])
        confusion = alignment.confusion.tolist()
    return latent_labels(num_actions, confusion, names)


def _attention(stage: StageEvaluation, model: str) -> None:
    """attention.png, except of a tokenizer without attention."""
    settings = Attention(**stage.settings["attention"])
    with suppress(LeftOut):
        draw_attention(stage.subject, (model,), stage.clips, settings, stage.folder / "attention.png")


class Rollouts(Callback):
    """Evaluates the stage in the first validation after every `every_n_train_steps` steps, and in the last one.

    Metrics are logged as `rollout/…` beside those of the validation; images and videos go to `folder`/step_<n>/ and as
    `media/…` to the loggers. A line that starts with `label` reports main metrics and time. Has to precede the callback
    that averages the weights and restores them at the end of the validation. Only the first process evaluates; the
    others wait for the metrics. What fails here (memory, the disk, a bug) is said, and the training goes on.

    `settings`: the group `callbacks.rollouts`. Raises UserError for an invalid setting.
    """

    def __init__(self, label: str, folder: Path, settings: dict[str, Any], seed: int) -> None:
        check(settings)
        self.label, self.settings, self.seed = label, settings, seed
        self.media = MediaFolder(folder, settings["keep_videos"])
        self.every = settings["every_n_train_steps"] or 0
        self.last_step = 0  # of the last evaluation
        self.has_failed = False  # the last one
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
        metrics = self._tried(trainer, module, step) if trainer.is_global_zero else {}
        metrics = trainer.strategy.broadcast(metrics)
        self.has_failed = metrics is None
        if metrics is None:
            return
        seconds = time.monotonic() - started
        self.spent += seconds
        if metrics:
            metrics["seconds"] = seconds
        module.log_dict({f"rollout/{name}": value for name, value in metrics.items()}, sync_dist=True)
        share = self.spent / (time.monotonic() - self.started)
        module.print(f"{self.label} step {step}/{trainer.max_steps}  {summary(metrics)}held-out clips: {seconds:.1f} s "
                     f"({share:.1%} of the time so far), pictures in {self.media.path}/step_{step}")  # fmt: skip

    def _is_due(self, step: int, max_steps: int) -> bool:
        if not self.every or step == self.last_step:
            return False
        return step // self.every > self.last_step // self.every or 0 <= max_steps <= step

    def _tried(self, trainer: Trainer, module: LightningModule, step: int) -> dict[str, float] | None:
        """`_evaluate`; None where it failed."""
        try:
            return self._evaluate(trainer, module, step)
        except Exception as error:
            if os.environ.get(STRICT) or wants_trace():
                raise
            warn(
                f"{self.label} step {step}: held-out clips could not be evaluated ({failure(error)}). The training "
                f"goes on; debug=trace shows where, callbacks.rollouts.every_n_train_steps=0 looks at none"
            )
            return None

    def _evaluate(self, trainer: Trainer, module: LightningModule, step: int) -> dict[str, float]:
        """The metrics of one evaluation; draws and logs its media."""
        folder = self.media.begin(step)
        subject = LiveRun(module, folder, Sampled(**self.settings["sampler"]))
        with undisturbed(trainer, module):
            stage = StageEvaluation(subject, self.clips, self.settings, self.seed, folder, self.videos, self.features)
            metrics = PARTS[module.options["name"]](stage)
        videos = {path.stem: path for path in folder.glob("*.mp4")}
        pictures = {path.stem: path for path in folder.glob("*.png") if path.stem not in videos}
        for show, files in ((log_video, videos), (log_picture, pictures)):
            for stem in sorted(files):
                show(trainer, SHOWN_AS.get(stem, stem), files[stem], step)
        self.media.drop_old_videos()
        return metrics


@contextmanager
def undisturbed(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """The precision of the run's validation; metrics of this process alone; no compilation."""
    with ExitStack() as stack:
        stack.enter_context(trainer.precision_plugin.val_step_context())
        if trainer.world_size > 1:  # torchmetrics would wait for ranks that do not evaluate
            stack.enter_context(mock.patch("torchmetrics.metric.jit_distributed_available", lambda: False))
        if module.config["compile"]:  # not for shapes that occur once in a thousand steps
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def summary(metrics: dict[str, float]) -> str:
    """The main metrics as a text, empty without metrics."""
    if not metrics:
        return ""
    ours, copied, still = (metrics[f"psnr{name}_mean"] for name in ("", "_copy_last", "_background"))
    return (
        f"rollout PSNR {ours:.2f} (copy last {copied:.2f}, background {still:.2f}), "
        f"{metrics['passes_per_frame']:.1f} passes per frame; "
    )


def video_features() -> Any:
    """The network of FVD. Raises UserError where its weights are not available."""
    from genie.metrics.video_features import VideoFeatures

    return VideoFeatures()


def check(settings: dict[str, Any]) -> None:
    """Raises UserError for a frame behind the horizon."""
    for t in settings["delta_psnr_t"]:
        if t > settings["horizon"]:
            raise UserError(f"{GROUP}delta_psnr_t={settings['delta_psnr_t']}: {t} is not in 1 … {settings['horizon']}")
