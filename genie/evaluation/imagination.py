"""Imagined clips: prediction errors, rewards, videos side by side.

The chosen world on held-out clips: what it imagines under the true actions, once for all parts that look at it.

Fully autoregressive: after the given observations it is told nothing more.

Imagined beside real, further ahead than the figures look: a video, or curves of the numbers of a state.

How far ahead does a world see? The error of what it imagines against the horizon, for worlds of any kind.

Errors are those of observations (pixels, or the numbers of a state), and for a world of tokens of these, too. Beside
them stands what needs no world: the last given observation, for ever.

Are rewards and ends right on held-out clips, in states that were really reached, and in imagined ones?

The figures are those of the validation of `stage=reward` (`genie.metrics.rewards`), for any world that knows rewards.

Dimension letters: `N` clips, `B` batch, `T` observations of a clip, `P` given ones, `n` = T - P imagined ones, `O` the
shape of an observation, `S` tokens.

Dimension letters: `N` clips, `T` observations, `P` given ones, `n` numbers of a state.

Dimension letters: `N` clips, `T` observations of one, `O` the shape of an observation, `n` horizon, `S` tokens.

Dimension letters: `N` clips, `B` batch, `T` observations of a clip, `P` given ones.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genie.common.plots import plot_horizon
from genie.evaluation.clips import Clips, in_windows
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.rollout import clip_seeds, draw_videos
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.rewards import RewardMetrics
from genie.models.heads import Judged
from genie.planning.plots import plot_states, shows_frames
from genie.world.protocol import World


@dataclass(frozen=True)
class Imagined:
    """What a world imagined of N clips, on the CPU.

    Attributes:
        observations: [N, n, *O].
        tokens: int64 [N, n, S]; None for a world without tokens.
        judged: [N, n] each: what its rewards and ends say of these steps; None for a world that knows neither.
    """

    observations: Tensor
    tokens: Tensor | None
    judged: Judged | None


@torch.no_grad()
def imagine_clips(world: World, clips: Clips, prompt: int, seed: int) -> Imagined:
    """P = `prompt` observations of each clip are given and the others imagined, `clips.batch_size` clips at a time. The
    draws of a clip depend on its number and `seed` alone."""
    batches = []
    for first, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        actions = actions_between(world, batch)
        seeds = clip_seeds(seed, range(first, first + len(batch)), 0)
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
    """What is said of step after step [B] as one, [B, n], on the CPU."""
    return _joined(steps, torch.stack, 1)


def _joined(parts: list[Judged], join, dim: int) -> Judged:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Judged))
    return Judged(*(None if column[0] is None else join(column, dim).cpu() for column in columns))


class ImaginedClips:
    """The chosen world of a `subject` and the held-out `clips` of its data, of which `prompt` observations are given.
    Both properties raise `LeftOut` where there is no such world, or where it cannot be told what was done."""

    def __init__(self, subject: TrainedRun, clips: Clips, prompt: int, seed: int) -> None:
        self.subject, self.clips, self.prompt, self.seed = subject, clips, prompt, seed

    @property
    def world(self) -> World:
        """On the device of the evaluation."""
        return self.subject.chosen_world

    @cached_property
    def imagined(self) -> Imagined:
        """All clips, imagined once."""
        return imagine_clips(self.world, self.clips, self.prompt, self.seed)


@dataclass(frozen=True)
class SideSettings:
    """`clips` that are shown, of which `prompt` observations are given; `fps` of the video, `seed` of the draws."""

    clips: int
    prompt: int
    fps: float
    seed: int


def draw_side_by_side(world: World, clips: Clips, settings: SideSettings, folder: Path) -> Path:
    """side_by_side.mp4 for a world of frames, a row for each clip: real, imagined under the same actions, and their
    difference. side_by_side.png for a world of states: each of its first numbers, one clip behind the other."""
    clips = clips.sample(settings.clips)
    imagined = imagine_clips(world, clips, settings.prompt, settings.seed).observations
    if not shows_frames(world):
        return plot_states(state_lines(clips.observations, imagined), folder / "side_by_side.png")
    path = folder / "side_by_side.mp4"
    video = (imagined * 255).round().byte()
    draw_videos(clips.frames, video, settings.prompt, ["real", "imagined", "error"], settings.fps, path)
    return path


def state_lines(real: Tensor, imagined: Tensor) -> dict[str, np.ndarray]:
    """Lines [N·(T+1), n] of clips [N, T, n] behind each other, with a gap after each. The imagined one begins at the
    last state that was given."""
    prompt = real.shape[1] - imagined.shape[1]
    drawn = torch.cat([torch.full_like(real[:, : prompt - 1], torch.nan), real[:, prompt - 1 : prompt], imagined], 1)
    gap = torch.full_like(real[:, :1], torch.nan)
    lines = {"real": real, "imagined": drawn}
    return {name: torch.cat([line, gap], 1).flatten(0, 1).numpy() for name, line in lines.items()}


# kinds of error -> what is on the axis
UNITS = {
    "pixel_error": "error of pixels (RMSE of values in [0, 1])",
    "token_error": "share of wrong tokens",
    "state_error": "error of states (RMSE in standard deviations)",
}
COPY = "_copy_last"


def evaluate_prediction(foresight: ImaginedClips, folder: Path) -> dict:
    """For each kind of error that the world has (`prediction_errors`) and its `_copy_last`: a list over the horizon,
    the mean over it, the first and the last value; `horizons_below_copy_last`, at how many horizons the error of
    observations is below that of the copy. Draws prediction_<kind>.png."""
    errors = prediction_errors(foresight.world, foresight.clips, foresight.imagined)
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
    """What errors are counted in: 1 for frames, the standard deviation [n] of each number of a state over all clips. A
    number that never changes counts in its own units."""
    if observations.ndim > 3:
        return torch.ones(())
    spread = observations.flatten(0, 1).std(0)
    return torch.where(spread > 0, spread, 1.0)


def _errors(made: Tensor, target: Tensor, unit: Tensor) -> list[float]:
    squares = ((made - target) / unit).square()
    return squares.mean(dim=(0, *range(2, squares.ndim))).sqrt().tolist()


# how many cases there are -> what the figures of them have in their names
CASES = {"positive_rewards": "positive", "negative_rewards": "negative", "terminals": "terminal"}


@dataclass(frozen=True)
class RewardSettings:
    """`clips`, how many there are at most; `discount` of the returns of segments."""

    clips: int
    discount: float


def require_rewards(world: World) -> None:
    """Raises LeftOut for a world that knows neither rewards nor ends."""
    if not (world.knows_rewards or world.knows_ends):
        raise LeftOut("the world knows no rewards: train them with `python -m genie.train stage=reward`")


def evaluate_reward(foresight: ImaginedClips, clips: Clips, settings: RewardSettings) -> dict[str, dict]:
    """{"reached": …, "imagined": …}, each what `RewardMetrics` says, `segments`, and how many `positive_rewards`,
    `negative_rewards` and `terminals` there are: what there is no case of has no figures.

    reached: of the states on the way through `clips`, which reach the ends of their episodes. imagined: of those that
    the world imagines of the clips of `foresight`, beside what came when the same was done; left out where it cannot
    be told what was done.
    """
    world = foresight.world
    reached = RewardFigures(world, clips, settings.discount)
    for batch in clips.batches():
        reached.update(judge_reached(world, batch), batch, 0)
    figures = {"reached": reached.compute()}
    try:
        judged = foresight.imagined.judged
    except LeftOut:
        return figures
    imagined = RewardFigures(world, foresight.clips, settings.discount)
    imagined.update(judged, foresight.clips, foresight.prompt - 1)
    return {**figures, "imagined": imagined.compute()}


@torch.no_grad()
def judge_reached(world: World, clips: Clips) -> Judged:
    """What is said of the T - 1 steps of true clips, [B, T-1] each. The actions of a world of latent ones are not told:
    nothing that was seen depends on them."""
    seen = clips.observations.to(world.device)
    actions = actions_between(world, clips) if world.takes_environment_actions else _no_actions(seen)
    state, judged = world.reset(seen[:, :1]), []
    for observation, action in zip(seen[:, 1:].unbind(1), actions.unbind(1), strict=True):
        before, state = state, world.observe(state, observation, action)
        judged.append(world.judge(before, action, state))
    return stack_judged(judged)


def _no_actions(seen: Tensor) -> Tensor:
    return torch.zeros(len(seen), seen.shape[1] - 1, dtype=torch.int64, device=seen.device)


class RewardFigures:
    """`RewardMetrics` of what a world knows and the data record. Raises LeftOut where that is nothing."""

    def __init__(self, world: World, clips: Clips, discount: float) -> None:
        known = {"rewards": world.knows_rewards, "terminals": world.knows_ends}
        self.columns = [name for name, knows in known.items() if knows and getattr(clips, name) is not None]
        if not self.columns:
            raise LeftOut("the data record neither rewards nor ends")
        self.metrics = RewardMetrics(world.reward_kind or "state", discount)
        self.counts = {"segments": 0}

    def update(self, judged: Judged, clips: Clips, start: int) -> None:
        """What is `judged` of the steps of clips from number `start` on."""
        batch = {name: getattr(clips, name)[:, start:] for name in self.columns}  # the last is of no step that was seen
        self.metrics.update(judged, batch)
        found = {"segments": len(clips)}
        if "rewards" in batch:
            rewards = batch["rewards"][:, :-1]
            found |= {"positive_rewards": int((rewards > 0).sum()), "negative_rewards": int((rewards < 0).sum())}
        if "terminals" in batch:
            found["terminals"] = int(batch["terminals"][:, :-1].sum())
        self.counts = {name: self.counts.get(name, 0) + count for name, count in found.items()}

    def compute(self) -> dict[str, float | int]:
        """All figures but those of cases that there were none of."""
        figures = {name: float(value) for name, value in self.metrics.compute().items()} | self.counts
        none = [words for count, words in CASES.items() if not self.counts.get(count)]
        return {name: value for name, value in figures.items() if name in CASES or not any(w in name for w in none)}
