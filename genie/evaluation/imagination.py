"""Imagined clips: prediction errors, and imagined beside real observations.

The chosen world imagines held-out clips under the true actions, fully autoregressively, once for all parts that need
it. The last given observation, held for ever, is the reference of the errors.

Dimension letters: `N` clips, `B` batch, `T` observations of a clip, `P` given ones, `n` = T - P imagined ones (`n`
numbers of a state, where these are meant), `O` the shape of an observation, `S` tokens.
"""

from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.held_out_clips import Clips, in_windows
from genie.common.plots import plot_horizon
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.part import Evaluation, Part, Row, number
from genie.evaluation.rollout import clip_seeds, draw_videos
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.models.heads import Judged
from genie.planning.plots import plot_states, shows_frames
from genie.world.protocol import World

# kinds of error -> label of the axis
UNITS = {
    "pixel_error": "error of pixels (RMSE of values in [0, 1])",
    "token_error": "share of wrong tokens",
    "state_error": "error of states (RMSE in standard deviations)",
}
COPY = "_copy_last"


@dataclass(frozen=True)
class Imagined:
    """Imagined steps of N clips, on the CPU.

    Attributes:
        observations: [N, n, *O].
        tokens: int64 [N, n, S]; None for a world without tokens.
        judged: predicted rewards and ends of these steps, [N, n] each; None for a world that knows neither.
    """

    observations: Tensor
    tokens: Tensor | None
    judged: Judged | None


@torch.no_grad()
def imagine_clips(world: World, clips: Clips, prompt: int, seed: int) -> Imagined:
    """P = `prompt` observations of each clip are given and the others imagined, `clips.batch_size` clips at a time. The
    draws of a clip depend on its number and `seed` alone."""
    batches = []
    for numbers, batch in clips.numbered_batches():
        actions = actions_between(world, batch)
        seeds = clip_seeds(seed, numbers, 0)
        given = batch.observations[:, :prompt].to(world.device)
        state, steps, judged = world.reset(given, actions[:, : prompt - 1], seeds), [], []
        for action in actions[:, prompt - 1 :].unbind(1):
            before, (state, step) = state, world.step(state, action)
            steps.append(step)
            if world.knows_rewards or world.knows_ends:
                judged.append(world.judge(before, action, state))
        batches.append(
            Imagined(
                torch.stack([step.observation for step in steps], dim=1).cpu(),
                torch.stack([step.tokens for step in steps], dim=1).cpu() if hasattr(steps[0], "tokens") else None,
                stack_judged(judged) if judged else None,
            )
        )
    return Imagined(
        torch.cat([batch.observations for batch in batches]),
        None if batches[0].tokens is None else torch.cat([batch.tokens for batch in batches]),
        None if batches[0].judged is None else _joined([batch.judged for batch in batches], torch.cat, 0),
    )


def stack_judged(steps: list[Judged]) -> Judged:
    """Predictions of successive steps [B] as one [B, n], on the CPU."""
    return _joined(steps, torch.stack, 1)


def _joined(parts: list[Judged], join, dim: int) -> Judged:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Judged))
    return Judged(*(None if column[0] is None else join(column, dim).cpu() for column in columns))


class ImaginedClips:
    """The chosen world of a `run` on held-out `clips` of its data, of which `prompt` observations are given. Both
    properties raise `LeftOut` where there is no such world, or where the true actions are unknown."""

    def __init__(self, run: TrainedRun, clips: Clips, prompt: int, seed: int) -> None:
        self.run, self.clips, self.prompt, self.seed = run, clips, prompt, seed

    @property
    def world(self) -> World:
        return self.run.chosen_world

    @cached_property
    def steps(self) -> Imagined:
        """All clips, imagined once."""
        return imagine_clips(self.world, self.clips, self.prompt, self.seed)


def evaluate_prediction(imagined: ImaginedClips, folder: Path) -> dict:
    """For each kind of error that the world has (`prediction_errors`) and its `_copy_last`: a list over the horizon,
    the mean over it, the first and the last value; `horizons_below_copy_last`, the number of horizons at which the
    error of observations is below that of the copy. Draws prediction_<kind>.png."""
    errors = prediction_errors(imagined.world, imagined.clips, imagined.steps)
    figures: dict = {}
    for name, curve in errors.items():
        figures |= {f"{name}_first": curve[0], f"{name}_last": curve[-1], f"{name}_mean": sum(curve) / len(curve)}
        figures[f"{name}_by_horizon"] = curve
    seen = next(iter(errors))
    pairs = zip(errors[seen], errors[f"{seen}{COPY}"], strict=True)
    figures["horizons_below_copy_last"] = sum(ours < copied for ours, copied in pairs)
    for kind, unit in UNITS.items():
        if kind in errors:
            plot_horizon({"": errors[kind], COPY: errors[f"{kind}{COPY}"]}, unit, folder / f"prediction_{kind}.png")
    return figures


@torch.no_grad()
def prediction_errors(world: World, clips: Clips, imagined: Imagined) -> dict[str, list[float]]:
    """By kind of error a list over the horizon, and the same of the copy:

    - `pixel_error`, or `state_error` for a world of states: root mean squared error over all clips; of pixels in
      [0, 1], of the numbers of a state in their standard deviations, so that 1 is no better than knowing nothing;
    - `token_error`, for a world of tokens: the share of those that are not the ones of the true frame.
    """
    observations = clips.observations
    prompt = observations.shape[1] - imagined.observations.shape[1]
    target, last = observations[:, prompt:], observations[:, prompt - 1 : prompt]
    unit, kind = _units(observations), "pixel_error" if observations.ndim > 3 else "state_error"
    errors = {kind: _errors(imagined.observations, target, unit), f"{kind}{COPY}": _errors(last, target, unit)}
    if imagined.tokens is not None:
        true = torch.cat([_tokens(world, batch, prompt - 1) for batch in clips.batches()])
        for name, made in (("token_error", imagined.tokens), (f"token_error{COPY}", true[:, :1])):
            errors[name] = (made != true[:, 1:]).float().mean(dim=(0, 2)).tolist()
    return errors


def _tokens(world: World, clips: Clips, start: int) -> Tensor:
    """int64 [B, T - start, S] of the true frames from number `start` on."""
    frames = clips.floats().to(world.device)
    return in_windows(lambda part: (world.tokenizer.encode(part),), frames, world.window)[0][:, start:].cpu()


def _units(observations: Tensor) -> Tensor:
    """Units of errors: 1 for frames, the standard deviation [n] of each number of a state over all clips. A number that
    never changes counts in its own units."""
    if observations.ndim > 3:
        return torch.ones(())
    spread = observations.flatten(0, 1).std(0)
    return torch.where(spread > 0, spread, 1.0)


def _errors(made: Tensor, target: Tensor, unit: Tensor) -> list[float]:
    squares = ((made - target) / unit).square()
    return squares.mean(dim=(0, *range(2, squares.ndim))).sqrt().tolist()


@dataclass(frozen=True)
class SideSettings:
    """`clips` that are shown, of which `prompt` observations are given; `fps` of the video, `seed` of the draws."""

    clips: int
    prompt: int
    fps: float
    seed: int


def draw_side_by_side(world: World, clips: Clips, settings: SideSettings, folder: Path) -> Path:
    """side_by_side.mp4 for a world of frames, a row for each clip: real, imagined under the same actions, and their
    difference. side_by_side.png for a world of states: each of its first numbers, one clip after the other."""
    clips = clips.sample(settings.clips)
    imagined = imagine_clips(world, clips, settings.prompt, settings.seed).observations
    if not shows_frames(world):
        return plot_states(state_lines(clips.observations, imagined), folder / "side_by_side.png")
    path = folder / "side_by_side.mp4"
    video = (imagined * 255).round().byte()
    draw_videos(clips.frames, video, settings.prompt, ["real", "imagined", "error"], settings.fps, path)
    return path


def state_lines(real: Tensor, imagined: Tensor) -> dict[str, np.ndarray]:
    """Lines [N·(T+1), n] of clips [N, T, n] in succession, with a gap after each. The imagined one begins at the last
    given state."""
    prompt = real.shape[1] - imagined.shape[1]
    drawn = torch.cat([torch.full_like(real[:, : prompt - 1], torch.nan), real[:, prompt - 1 : prompt], imagined], 1)
    gap = torch.full_like(real[:, :1], torch.nan)
    lines = {"real": real, "imagined": drawn}
    return {name: torch.cat([line, gap], 1).flatten(0, 1).numpy() for name, line in lines.items()}


PREDICTION_DEFINITION = Definition(
    "prediction", "Prediction", "Prediction",
    "Fully autoregressive: after the given observations the world imagines under the true actions and is told "
    "nothing more. Pixels: root mean squared error of values in [0, 1]. Tokens: the share of those that are not "
    "the true frame's. States: root mean squared error in the standard deviations of each number, so that 1 is no "
    "better than knowing nothing. Beside it stands the last given observation, for ever.",
)  # fmt: skip


def _error(path: str, label: str, says: str = "", unit: str = "", digits: int = 4) -> MetricInfo:
    return MetricInfo(f"prediction.{path}", label, says, PREDICTION_DEFINITION, unit, digits, LOWER)


PREDICTION_METRICS = (
    _error("pixel_error_{end:first|last|mean}", "error of pixels, {end}",
           "root mean square over all clips, of values in [0, 1]"),
    _error("token_error_{end:first|last|mean}", "wrong tokens, {end}", "share that is not as in the true frame", "%",
           1),
    _error("state_error_{end:first|last|mean}", "error of states, {end}",
           "root mean square, in standard deviations"),
    _error("pixel_error_by_horizon", "error of pixels by horizon"),
    _error("token_error_by_horizon", "wrong tokens by horizon", "", "%", 1),
    _error("state_error_by_horizon", "error of states by horizon"),
    MetricInfo("prediction.horizons_below_copy_last", "horizons below the copy",
               "imagined steps that beat a copy of the last given observation", PREDICTION_DEFINITION, digits=0,
               better=HIGHER),
)  # fmt: skip


def _prediction_rows(report: dict) -> list[Row]:
    figures, rows, horizon = report.get("prediction", {}), [], report.get("horizon")
    for kind, what in {"pixel_error": "pixels", "token_error": "tokens", "state_error": "states"}.items():
        for end, label in (("first", "step 1"), ("last", f"step {horizon}")):
            if f"{kind}_{end}" in figures:
                values = (number(figures[f"{kind}{video}_{end}"], 4) for video in ("", COPY))
                rows.append((f"error of {what}, {label}", *values, "", ""))
    if rows:
        rows.append(("prediction below copy last", f"{figures['horizons_below_copy_last']}/{horizon}", "", "", "steps"))
    return rows


def _measure_side_by_side(evaluation: Evaluation) -> dict:
    """No metrics. The clips are longer than the others where the data have such episodes."""
    imagined, config = evaluation.imagined, evaluation.config
    side = SideSettings(config.side_by_side.clips, config.prompt_frames, config.fps, config.seed)
    length = config.prompt_frames + config.side_by_side.horizon
    clips = imagined.clips
    with suppress(LeftOut):
        clips = evaluation.held_out(evaluation.run.world_data_config, side.clips, length)
    draw_side_by_side(imagined.world, clips, side, evaluation.folder)
    return {}


PREDICTION = Part(
    "prediction",
    lambda evaluation: {"prediction": evaluate_prediction(evaluation.imagined, evaluation.folder)},
    needs=("world",),
    metrics=PREDICTION_METRICS,
    titles={"prediction": "Prediction"},
    rows=_prediction_rows,
)
SIDE_BY_SIDE = Part("side_by_side", _measure_side_by_side, needs=("world",))
