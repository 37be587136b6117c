"""FVD and KVD of rollouts, beside real videos and trivial predictions.

FVD and KVD of generated videos, beside those of real ones and of predictions that need no model.

The real clips of the split are taken in two halves of N, A and B, by turns. Generated videos continue the prompts of A,
with A's actions. All distances are between the frames after the prompt.

Dimension letters: `N` clips, `P` frames of the prompt, `T` frames of a video, `D` features.
"""

from typing import Any

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.evaluation.clips import Clips
from genie.evaluation.rollout import clip_seeds, generate, random_actions, true_actions
from genie.evaluation.tokenizer import reconstruct
from genie.evaluation.trained_run import LeftOut, LiveRun, TrainedRun
from genie.metrics.fvd import FrechetVideoDistance, KernelVideoDistance, frechet_distance, kernel_distance
from genie.metrics.video_features import VideoFeatures, cached_features

# predictions that a score stands beside, on the same clips, by the end of their name
BASELINES = ("copy_last", "background", "random_actions", "reconstruction")


def load_features(frames: int, resize: str) -> VideoFeatures:
    """I3D for videos of so many frames. Raises LeftOut where its weights cannot be had."""
    try:
        return VideoFeatures("i3d", frames, resize)
    except UserError as error:
        raise LeftOut(str(error)) from error


def evaluate_distances(
    subject: TrainedRun, clips: Clips, features: VideoFeatures, prompt: int, baselines: list[str], seed: int
) -> dict[str, Any]:
    """FVD by name, and the same names with `kvd` for KVD:

    - `value`: generated videos against A, the true continuations of the same prompts; `value_<baseline>` likewise;
    - `unpaired`: generated videos against B, which shows other moments; `floor`: A against B, what a world that is
      real would score there;

    and `name`, `videos` N, and the `protocol`, which together say what these numbers may be compared with.

    clips: of P = `prompt` frames and those of a video; `baselines`: which of `BASELINES`; `seed` of all draws.
    """
    first, second = clips.select(torch.arange(0, len(clips) - 1, 2)), clips.select(torch.arange(1, len(clips), 2))
    if len(first) < 2:
        raise LeftOut(f"{len(clips)} clips of {clips.frames.shape[1]} frames are too few for two sets of videos")
    device = subject.world.device
    real, other = (features_of(features, half.frames[:, prompt:], device) for half in (first, second))
    made = {
        name: features_of(features, videos, device).expand(len(first), -1)
        for name, videos in _videos(subject, first, prompt, features.num_frames, baselines, seed).items()
    }
    figures: dict[str, Any] = {}
    for prefix, distance in (("", frechet_distance), ("kvd_", kernel_distance)):
        values = {
            "value": distance(real, made[""]),
            **{f"value_{name}": distance(real, made[name]) for name in made if name},
            "unpaired": distance(other, made[""]),
            "floor": distance(other, real),
        }
        for name, value in values.items():
            figures[(prefix + name).replace("kvd_value", "kvd")] = float(value)
    return {
        "name": f"fvd/{features.name}_{len(first)}v",
        "videos": len(first),
        **figures,
        "protocol": features.protocol,
    }


def video_distances(
    subject: TrainedRun | LiveRun, clips: Clips, features: VideoFeatures, prompt: int, seed: int
) -> dict[str, float]:
    """FVD and KVD of generated videos from the true continuations of the same prompts, by name (`fvd_i3d_16f_64v`)."""
    device = subject.world.device
    real = features_of(features, clips.frames[:, prompt:], device)
    made = features_of(features, _videos(subject, clips, prompt, features.num_frames, [], seed)[""], device)
    values = {}
    for metric in (FrechetVideoDistance(features), KernelVideoDistance(features)):
        metric.update(real, real=True)
        metric.update(made, real=False)
        value = float(metric.compute())
        values[metric.name.replace("/", "_")] = value  # the name says how many videos were counted
    return values


def features_of(features: VideoFeatures, videos: Tensor, device: torch.device) -> Tensor:
    """Of videos [N, T, C, H, W], computed on `device`, on the CPU: [N, D]. Those in uint8 belong to the data and come
    again, so they are kept."""
    videos = videos.contiguous().to(device)
    return (features(videos) if videos.is_floating_point() else cached_features(features, videos)).cpu()


def _videos(
    subject: TrainedRun | LiveRun, clips: Clips, prompt: int, count: int, baselines: list[str], seed: int
) -> dict[str, Tensor]:
    """The predictions for `count` frames after the prompt [N, T, C, H, W] by name, "" for the world's own: in [0, 1],
    or uint8 where they are the same for all worlds; N = 1 where all are alike."""
    world = subject.world
    made: dict[str, list[Tensor]] = {"": []}
    for start, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        numbers = range(start, start + len(batch))
        frames, actions = batch.floats(), true_actions(subject, batch)
        seeds = clip_seeds(seed, numbers, 0)
        made[""].append(generate(world, frames, actions, prompt, count, seeds))
        if "random_actions" in baselines:
            drawn = random_actions(world.num_actions, count, seeds).to(actions.device)
            other = torch.cat([actions[:, : prompt - 1], drawn], dim=1)
            made.setdefault("random_actions", []).append(generate(world, frames, other, prompt, count, seeds))
        if "reconstruction" in baselines:
            rebuilt, _ = reconstruct(world.tokenizer, frames, world.window)
            made.setdefault("reconstruction", []).append(rebuilt[:, prompt:].clamp(0, 1))
    videos = {name: torch.cat(parts) for name, parts in made.items()}
    truth = clips.frames[:, prompt:]
    if "copy_last" in baselines:
        videos["copy_last"] = clips.frames[:, prompt - 1 : prompt].expand_as(truth)
    if "background" in baselines:
        background = torch.from_numpy(clips.info.background)  # the same video N times: one goes through the network
        videos["background"] = background.expand_as(truth[:1])
    return videos
