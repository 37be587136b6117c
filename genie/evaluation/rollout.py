"""The world as a whole: how far does a generated video stay true, and do its actions decide what happens?

Fully autoregressive: after the prompt every frame is made from generated tokens. The actions are those that the
latent action model reads from the true video, or the recorded ones for a world that takes these.

Dimension letters: `N` clips, `B` batch, `P` frames of the prompt, `n` horizon, `C H W` channels and pixels.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genie.common.profiling import GenerationCost
from genie.common.random import fold_in
from genie.evaluation.clips import Clips
from genie.evaluation.deltas import Deltas, random_actions
from genie.evaluation.horizon_curves import HorizonCurves
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.reconstruction import reconstruct
from genie.evaluation.rollout_objects import RolloutObjects
from genie.evaluation.rollout_video import draw_videos
from genie.evaluation.subject import LeftOut, Subject
from genie.world.world_model import WorldModel


@dataclass(frozen=True)
class RolloutSettings:
    """`prompt_frames` P, `horizon` n; ΔPSNR at the frames `times`, from `num_seeds` draws; `seed` of all draws;
    `fps` of the video."""

    prompt_frames: int
    horizon: int
    times: tuple[int, ...]
    num_seeds: int
    seed: int
    fps: float


def true_actions(subject: Subject, clips: Clips) -> Tensor:
    """The actions int64 [N, T-1] between the frames of clips, in the world's own numbering, on its device."""
    return actions_between(subject.world, clips)


def known_actions(subject: Subject, clips: Clips, count: int) -> Tensor:
    """The first `count` of `true_actions`, zeros where none can be had: they matter little beside given frames."""
    try:
        return true_actions(subject, clips)[:, :count]
    except LeftOut:
        return torch.zeros(len(clips), count, dtype=torch.int64, device=subject.world.device)


def clip_seeds(seed: int, clips: range, *more: int) -> Tensor:
    """A seed for each of the clips of these numbers, int64: what a clip draws does not depend on its batch."""
    return torch.tensor([fold_in(seed, clip, *more) for clip in clips])


def generate(
    world: WorldModel, frames: Tensor, actions: Tensor, prompt: int, count: int, seed: int | Tensor,
    cost: GenerationCost | None = None,
) -> Tensor:  # fmt: skip
    """`count` frames [B, count, C, H, W] in [0, 1] after the first `prompt` ones, on the CPU.

    frames [B, T, C, H, W] in [0, 1]; actions int64 [B, ≥ prompt - 1 + count], of which the first prompt - 1 lie
    between the frames of the prompt. The same seed (one, or int64 [B]) draws the same noise, whatever the actions.
    What it takes is added to `cost`.
    """
    started = time.monotonic()
    coming = actions[:, prompt - 1 : prompt - 1 + count]
    given = frames[:, :prompt].to(world.device)
    steps = list(world.steps(given, coming, seed, prompt_actions=actions[:, : prompt - 1]))
    made = torch.stack([step.observation for step in steps], dim=1).cpu()
    if cost is not None:
        cost.add(torch.cat([step.passes for step in steps]).tolist(), time.monotonic() - started)
    return made


def evaluate_rollout(subject: Subject, clips: Clips, settings: RolloutSettings, folder: Path) -> dict[str, dict]:
    """{"rollout": …, "rollout_objects": …, "delta_psnr": …, "cost": …}; writes rollout.mp4 and plots.

    rollout: for `psnr` (dB, pooled) and `ssim`, the baselines `_copy_last` (the prompt's last frame), `_background` and
    `_random_actions` (the same world, but its actions are drawn), and the ceiling `_reconstruction` (the true frames
    through the tokenizer): a list over the horizon, the mean over it, and the first and last value;
    `horizons_above_copy_last`, how many of the horizons the world wins; `passes_per_frame` of the dynamics.

    rollout_objects: see `RolloutObjects`; only for data that record object positions. delta_psnr: see `Deltas`.
    cost: `seconds_per_frame` of generating, a batch of clips at a time.
    """
    prompt, horizon = settings.prompt_frames, settings.horizon
    curves, deltas = HorizonCurves(horizon), Deltas(settings.times, settings.num_seeds)
    objects = RolloutObjects(clips, prompt, horizon) if clips.has_objects else None
    made, world, cost = [], subject.world, GenerationCost()
    for first, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        numbers = range(first, first + len(batch))
        frames, actions = batch.floats(), true_actions(subject, batch)
        generated = generate(world, frames, actions, prompt, horizon, clip_seeds(settings.seed, numbers, 0), cost)
        made.append((generated * 255).round().byte())
        rebuilt, _ = reconstruct(world.tokenizer, frames, world.window)
        videos = {
            "": generated,
            "_copy_last": frames[:, prompt - 1 : prompt],
            "_background": clips.background.expand_as(generated),
            "_random_actions": _compare_draws(deltas, world, frames, actions, generated, settings, numbers, cost),
            "_reconstruction": rebuilt[:, prompt:],
        }
        curves.update(videos, frames[:, prompt:])
        if objects is not None:
            objects.update(videos, batch)
    labels = ["truth", "generated", "error"]
    draw_videos(clips.frames, torch.cat(made), prompt, labels, settings.fps, folder / "rollout.mp4")
    figures = {"rollout": {**curves.figures(folder), "passes_per_frame": cost.passes_per_frame}}
    if objects is not None:
        figures["rollout_objects"] = objects.figures(folder)
    if settings.times:
        figures["delta_psnr"] = deltas.figures()
    return {**figures, "cost": {"seconds_per_frame": cost.seconds_per_frame}}


def _compare_draws(
    deltas: Deltas, world: WorldModel, frames: Tensor, actions: Tensor, generated: Tensor,
    settings: RolloutSettings, clips: range, cost: GenerationCost,
) -> Tensor:  # fmt: skip
    """Each draw has its own random actions and its own sampling noise, the same for both videos. Returns the first
    draw's video [B, n, C, H, W] under random actions, whose noise is that of `generated`."""
    prompt, target = settings.prompt_frames, frames[:, settings.prompt_frames :]
    videos = []
    for number in range(settings.num_seeds):
        count = max(settings.times, default=0) if number else settings.horizon
        seeds = clip_seeds(settings.seed, clips, number)
        drawn = random_actions(world.num_actions, count, seeds).to(actions.device)
        other = torch.cat([actions[:, : prompt - 1], drawn], dim=1)
        inferred = generate(world, frames, actions, prompt, count, seeds, cost) if number else generated
        videos.append(generate(world, frames, other, prompt, count, seeds, cost))
        deltas.update(number, target, inferred, videos[-1])
    return videos[0]
