"""FVD and KVD of generated videos, beside those of real ones and of predictions that need no model.

The real clips of the split are taken in two halves of N, A and B, by turns. Generated videos continue the prompts of A,
with A's actions. All distances are between the frames after the prompt.

Dimension letters: `N` clips, `P` frames of the prompt, `T` frames of a video, `D` features.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genie.errors import UserError
from genie.evaluation.clips import Clips
from genie.evaluation.deltas import random_actions
from genie.evaluation.reconstruction import reconstruct
from genie.evaluation.rollout import clip_seeds, generate, true_actions
from genie.evaluation.subject import LeftOut, Subject
from genie.metrics.feature_cache import cached_features
from genie.metrics.feature_distances import frechet_distance, kernel_distance
from genie.metrics.video_features import VideoFeatures

# predictions that a score stands beside, on the same clips, by the end of their name
BASELINES = ("copy_last", "background", "random_actions", "reconstruction")


@dataclass(frozen=True)
class DistanceSettings:
    """`prompt_frames` P; `frames` T of a video, after the prompt; `videos` N at most; which of `BASELINES`; `resize` of
    the features; `seed` of all draws."""

    prompt_frames: int
    frames: int
    videos: int
    baselines: tuple[str, ...]
    resize: str
    seed: int


def load_features(settings: DistanceSettings) -> VideoFeatures:
    """I3D. Raises LeftOut where its weights cannot be had."""
    try:
        return VideoFeatures("i3d", settings.frames, settings.resize)
    except UserError as error:
        raise LeftOut(str(error)) from error


def evaluate_distances(
    subject: Subject, clips: Clips, settings: DistanceSettings, features: VideoFeatures
) -> dict[str, Any]:
    """FVD by name, and the same names with `kvd` for KVD:

    - `value`: generated videos against A, the true continuations of the same prompts; `value_<baseline>` likewise;
    - `unpaired`: generated videos against B, which shows other moments; `floor`: A against B, what a world that is
      real would score there;

    and `name`, `videos` N, and the `protocol`, which together say what these numbers may be compared with.
    """
    first, second = clips.select(torch.arange(0, len(clips) - 1, 2)), clips.select(torch.arange(1, len(clips), 2))
    if len(first) < 2:
        raise LeftOut(f"{len(clips)} clips of {clips.frames.shape[1]} frames are too few for two sets of videos")
    real = {
        name: cached_features(features, half.frames[:, settings.prompt_frames :].contiguous())
        for name, half in (("a", first), ("b", second))
    }
    made = {}
    for name, videos in _videos(subject, first, settings).items():
        found = features(videos) if videos.is_floating_point() else cached_features(features, videos)
        made[name] = found.expand(len(first), -1)
    figures: dict[str, Any] = {}
    for prefix, distance in (("", frechet_distance), ("kvd_", kernel_distance)):
        values = {
            "value": distance(real["a"], made[""]),
            **{f"value_{name}": distance(real["a"], made[name]) for name in made if name},
            "unpaired": distance(real["b"], made[""]),
            "floor": distance(real["b"], real["a"]),
        }
        for name, value in values.items():
            figures[(prefix + name).replace("kvd_value", "kvd")] = float(value)
    return {
        "name": f"fvd/{features.name}_{len(first)}v",
        "videos": len(first),
        **figures,
        "protocol": features.protocol,
    }


def _videos(subject: Subject, clips: Clips, settings: DistanceSettings) -> dict[str, Tensor]:
    """The predictions for the frames after the prompt [N, T, C, H, W] by name, "" for the world's own: in [0, 1], or
    uint8 where they are the same for all worlds; N = 1 where all are alike."""
    world, prompt, count = subject.world, settings.prompt_frames, settings.frames
    made: dict[str, list[Tensor]] = {"": []}
    for start, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        numbers = range(start, start + len(batch))
        frames, actions = batch.floats(), true_actions(subject, batch)
        seeds = clip_seeds(settings.seed, numbers, 0)
        made[""].append(generate(world, frames, actions, prompt, count, seeds))
        if "random_actions" in settings.baselines:
            drawn = random_actions(world.num_actions, count, seeds).to(actions.device)
            other = torch.cat([actions[:, : prompt - 1], drawn], dim=1)
            made.setdefault("random_actions", []).append(generate(world, frames, other, prompt, count, seeds))
        if "reconstruction" in settings.baselines:
            rebuilt, _ = reconstruct(world.tokenizer, frames, world.window)
            made.setdefault("reconstruction", []).append(rebuilt[:, prompt:].clamp(0, 1))
    videos = {name: torch.cat(parts) for name, parts in made.items()}
    truth = clips.frames[:, prompt:]
    if "copy_last" in settings.baselines:
        videos["copy_last"] = clips.frames[:, prompt - 1 : prompt].expand_as(truth).contiguous()
    if "background" in settings.baselines:
        background = torch.from_numpy(clips.info.background)  # the same video N times: one goes through the network
        videos["background"] = background.expand_as(truth[:1]).contiguous()
    return videos
