"""FVD and KVD of generated videos from the true ones of the same clips, without the prompts, which both share."""

import torch

from genie.evaluation.clips import Clips
from genie.evaluation.rollout import clip_seeds, generate, true_actions
from genie.evaluation.subject import InTraining, Subject
from genie.metrics.feature_cache import cached_features
from genie.metrics.fvd import FrechetVideoDistance, KernelVideoDistance
from genie.metrics.video_features import VideoFeatures


def video_distances(
    subject: Subject | InTraining, clips: Clips, features: VideoFeatures, prompt: int, seed: int
) -> dict[str, float]:
    """By name (`fvd_i3d_16f_64v`), of clips of `prompt` + `features.num_frames` frames.

    Every generated video goes through the network once, on the device of the world; true ones once and for all.
    """
    world, made = subject.world, []
    for first, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        frames, seeds = batch.floats(), clip_seeds(seed, range(first, first + len(batch)), 0)
        videos = generate(world, frames, true_actions(subject, batch), prompt, features.num_frames, seeds)
        made.append(features(videos.to(world.device)).cpu())
    real = cached_features(features, clips.frames[:, prompt:].contiguous().to(world.device)).cpu()
    values = {}
    for metric in (FrechetVideoDistance(features), KernelVideoDistance(features)):
        metric.update(real, real=True)
        metric.update(torch.cat(made), real=False)
        value = float(metric.compute())
        values[metric.name.replace("/", "_")] = value  # the name says how many videos were counted
    return values
