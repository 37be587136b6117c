"""What is looked at on held-out clips while a stage trains: the parts of `genie.evaluation` that concern this stage.

Each part draws into `folder` under the names that the evaluation uses, and returns figures to log, by name.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genie.evaluation.action_grid import GridSettings, draw_action_grid
from genie.evaluation.attention import AttentionSettings, draw_attention
from genie.evaluation.clips import Clips
from genie.evaluation.latent_actions import evaluate_lam, latent_labels, true_names
from genie.evaluation.rollout import RolloutSettings, evaluate_rollout, true_actions
from genie.evaluation.tokenizer import evaluate_tokenizer
from genie.evaluation.trained_run import LeftOut, LiveRun
from genie.metrics.actions import ActionAlignment

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
