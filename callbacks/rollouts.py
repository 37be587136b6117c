"""Rollouts of held-out clips while a stage trains.

What is looked at on held-out clips while a stage trains: the parts of `genie.evaluation` that concern this stage.

Each part draws into `folder` under the names that the evaluation uses, and returns figures to log, by name.

Real rollouts while the dynamics trains, and pictures of every stage, on clips that are not trained on.

The parts are those of `python -m genie.evaluate`, with the stage's own modules in memory (its averaged weights, where
the run has them). They draw from nothing but the clips and counted noise, so training goes on as if they had not been.
"""

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
from genie.common.config_types import require_number, require_whole
from genie.common.errors import UserError
from genie.evaluation.action_grid import GridSettings, draw_action_grid
from genie.evaluation.attention import AttentionSettings, draw_attention
from genie.evaluation.clips import Clips, read_clips
from genie.evaluation.latent_actions import evaluate_lam, latent_labels, true_names
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout, true_actions
from genie.evaluation.tokenizer import evaluate_tokenizer
from genie.evaluation.trained_run import LeftOut, LiveRun
from genie.metrics.actions import ActionAlignment
from genie.world.sampler import Sampler
from genie.world.sampler_choice import with_overrides

# files of the evaluation that loggers show under another name
SHOWN_AS = {
    "tokenizer": "reconstruction",
    "lam": "prediction",
    "lam_confusion": "confusion",
    "lam_effects": "effects",
    "rollout_psnr": "horizon",
}
GRID_PROMPTS = 2  # columns of the grid of actions


@dataclass(frozen=True)
class Look:
    """One look at a stage: its modules, the clips, the group `callbacks.rollouts`, the seed, where to draw; for FVD its
    clips `videos` and its network `features`, None without."""

    subject: LiveRun
    clips: Clips
    settings: dict[str, Any]
    seed: int
    folder: Path
    videos: Clips | None = None
    features: Any = None


def tokenizer(look: Look) -> dict[str, float]:
    """tokenizer.mp4, codebook.png, attention.png; validation has the figures."""
    evaluate_tokenizer(look.subject.tokenizer, look.clips, look.folder, look.settings["fps"])
    _attention(look, "tokenizer")
    return {}


def lam(look: Look) -> dict[str, float]:
    """lam.mp4 and, where the data has true actions, lam_confusion.png; validation has the figures."""
    evaluate_lam(look.subject.lam, look.clips, look.folder, look.settings["fps"])
    return {}


def dynamics(look: Look) -> dict[str, float]:
    """rollout.mp4, rollout_psnr.png, action_grid.{mp4,png}, attention.png, and the figures of real rollouts."""
    settings = look.settings
    prompt, horizon, times = settings["prompt_frames"], settings["horizon"], tuple(settings["delta_psnr_t"])
    rollout = RolloutSettings(prompt, horizon, times, 1, look.seed, settings["fps"])
    measured = evaluate_rollout(look.subject, look.clips, rollout, look.folder)
    if settings["grid_frames"]:
        grid = GridSettings(prompt, settings["grid_frames"], look.seed, settings["fps"])
        draw_action_grid(look.subject, look.clips.sample(GRID_PROMPTS), action_labels(look), grid, look.folder)
    _attention(look, "dynamics")
    figures = rollout_figures(measured)
    if look.videos is not None:
        from genie.evaluation.fvd import video_distances  # loads the network of FVD

        figures |= video_distances(look.subject, look.videos, look.features, prompt, look.seed)
    return figures


def cotrain(look: Look) -> dict[str, float]:
    """Both of the parts that are trained."""
    return lam(look) | dynamics(look)


PARTS: dict[str, Callable[[Look], dict[str, float]]] = {
    "tokenizer": tokenizer,
    "lam": lam,
    "dynamics": dynamics,
    "cotrain": cotrain,
}


def rollout_figures(measured: dict[str, dict]) -> dict[str, float]:
    """The figures of `evaluate_rollout` that are worth a curve, by the name that is logged after `rollout/`."""
    rollout, delta = measured["rollout"], measured.get("delta_psnr", {})
    curve = {f"psnr_h{number}": value for number, value in enumerate(rollout["psnr_by_horizon"], 1)}
    means = {name: rollout[name] for name in ("psnr_mean", "psnr_copy_last_mean", "psnr_background_mean")}
    deltas = {f"delta_psnr_{name}": value for name, value in delta.items() if not name.endswith("_spread")}
    rallies = {
        f"{name}_rally_{figure}": found["rally"]["generated"][figure]
        for name, found in measured.get("rollout_objects", {}).items()
        if "rally" in found
        for figure in ("present", "in_place", "doubled")
    }
    return {**curve, **means, **deltas, **rallies, "passes_per_frame": rollout["passes_per_frame"]}


def action_labels(look: Look) -> list[str]:
    """What each action of the world is called: latent ones after the true ones that they stand for in these clips."""
    subject, clips = look.subject, look.clips
    num_actions, names = subject.world.num_actions, true_names(clips)
    if subject.takes_environment_actions and len(names) == num_actions:
        return names
    confusion = None
    if clips.actions is not None and names:
        alignment = ActionAlignment(num_actions, len(names))
        alignment.update(true_actions(subject, clips).cpu(), clips.actions[:, :-1])
        confusion = alignment.confusion.tolist()
    return latent_labels(num_actions, confusion, names)


def _attention(look: Look, model: str) -> None:
    """No picture of a tokenizer whose encoder and decoder have no attention to show."""
    settings = AttentionSettings(**look.settings["attention"])
    with suppress(LeftOut):
        draw_attention(look.subject, (model,), look.clips, settings, look.folder / "attention.png")


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
