"""FVD and KVD of generated videos, beside those of real ones and of predictions that need no model.

The real clips of the split are taken in two halves of N, A and B, by turns. Generated videos continue the prompts of A,
with A's actions. All distances are between the frames after the prompt.

Dimension letters: `N` clips, `P` frames of the prompt, `T` frames of a video, `D` features.
"""

from typing import Any

import torch
from torch import Tensor

from data_modules.held_out_clips import Clips
from genie.common.errors import UserError
from genie.evaluation.part import Evaluation, Part, Row, number
from genie.evaluation.rollout import clip_seeds, generate, random_actions, true_actions
from genie.evaluation.tokenizer import reconstruct
from genie.evaluation.trained_run import LeftOut, LiveRun, TrainedRun
from genie.metrics.fvd import FrechetVideoDistance, KernelVideoDistance, frechet_distance, kernel_distance
from genie.metrics.metric_info import LOWER, Definition, MetricInfo
from genie.metrics.video_features import VideoFeatures, cached_features


def load_features(frames: int, resize: str) -> VideoFeatures:
    """I3D for videos of so many frames. Raises LeftOut where its weights are not available."""
    try:
        return VideoFeatures("i3d", frames, resize)
    except UserError as error:
        raise LeftOut(str(error)) from error


def evaluate_distances(
    run: TrainedRun, clips: Clips, features: VideoFeatures, prompt: int, baselines: list[str], seed: int
) -> dict[str, Any]:
    """FVD by name, and the same names with `kvd` for KVD:

    - `value`: generated videos against A, the true continuations of the same prompts; `value_<baseline>` likewise;
    - `unpaired`: generated videos against B, which shows other moments; `floor`: A against B, as of a real world;

    and `name`, `videos` N, and the `protocol`, which together say what these numbers may be compared with.

    clips: of P = `prompt` frames and those of a video.
    """
    first, second = clips.select(torch.arange(0, len(clips) - 1, 2)), clips.select(torch.arange(1, len(clips), 2))
    if len(first) < 2:
        raise LeftOut(f"{len(clips)} clips of {clips.frames.shape[1]} frames are too few for two sets of videos")
    device = run.world.device
    real, other = (features_of(features, half.frames[:, prompt:], device) for half in (first, second))
    made = {
        name: features_of(features, videos, device).expand(len(first), -1)
        for name, videos in _videos(run, first, prompt, features.num_frames, baselines, seed).items()
    }
    figures: dict[str, float] = {}
    for prefix, distance in (("", frechet_distance), ("kvd_", kernel_distance)):
        values = {
            "value": distance(real, made[""]),
            **{f"value_{name}": distance(real, made[name]) for name in made if name},
            "unpaired": distance(other, made[""]),
            "floor": distance(other, real),
        }
        for name, value in values.items():
            figures[(prefix + name).replace("kvd_value", "kvd")] = float(value)
    name = f"fvd/{features.name}_{len(first)}v"
    return {"name": name, "videos": len(first), **figures, "protocol": features.protocol}


def video_distances(
    run: TrainedRun | LiveRun, clips: Clips, features: VideoFeatures, prompt: int, seed: int
) -> dict[str, float]:
    """FVD and KVD of generated videos from the true continuations of the same prompts, by name (`fvd_i3d_16f_64v`)."""
    device = run.world.device
    real = features_of(features, clips.frames[:, prompt:], device)
    made = features_of(features, _videos(run, clips, prompt, features.num_frames, [], seed)[""], device)
    values = {}
    for metric in (FrechetVideoDistance(features), KernelVideoDistance(features)):
        metric.update(real, real=True)
        metric.update(made, real=False)
        value = float(metric.compute())
        values[metric.name.replace("/", "_")] = value  # the name says how many videos were counted
    return values


def features_of(features: VideoFeatures, videos: Tensor, device: torch.device) -> Tensor:
    """Features [N, D] of videos [N, T, C, H, W], computed on `device`, on the CPU. Those of uint8 videos, which belong
    to the data, are cached."""
    videos = videos.contiguous().to(device)
    return (features(videos) if videos.is_floating_point() else cached_features(features, videos)).cpu()


def _videos(
    run: TrainedRun | LiveRun, clips: Clips, prompt: int, count: int, baselines: list[str], seed: int
) -> dict[str, Tensor]:
    """The predictions for `count` frames after the prompt [N, T, C, H, W] by name, "" for the world's own: in [0, 1],
    or uint8 where they are the same for all worlds; N = 1 where all clips have the same one."""
    world = run.world
    made: dict[str, list[Tensor]] = {"": []}
    for numbers, batch in clips.numbered_batches():
        frames, actions = batch.floats(), true_actions(run, batch)
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


FVD_DEFINITION = Definition(
    "fvd", "FVD and KVD", "FVD and KVD: do the videos look real?",
    "Fréchet distance between features of real and of generated videos, and the kernel distance of the same "
    "features. Both depend on the detector, the frames and the number of videos, which the name and the protocol "
    "give. Few videos are far apart even where all are real: what is compared with other clips stands beside what "
    "real videos score there.",
)  # fmt: skip


def _distance(path: str, label: str, says: str = "", digits: int = 1, **more: Any) -> MetricInfo:
    return MetricInfo(f"fvd.{path}", label, says, FVD_DEFINITION, digits=digits, **more)


METRICS = (
    _distance("value", "FVD", "of generated videos from the true continuations of the same prompts", better=LOWER,
              beside={"unpaired": "from real videos of other moments", "floor": "real videos from these"},
              logged="rollout/fvd_{protocol}"),
    _distance("unpaired", "FVD, other moments", better=LOWER),
    _distance("floor", "FVD, real against real"),
    _distance("kvd", "KVD", "the kernel distance of the same features", 2, better=LOWER,
              beside={"kvd_unpaired": "from real videos of other moments", "kvd_floor": "real videos from these"},
              logged="rollout/kvd_{protocol}"),
    _distance("kvd_unpaired", "KVD, other moments", digits=2, better=LOWER),
    _distance("kvd_floor", "KVD, real against real", digits=2),
    _distance("videos", "videos on each side", digits=0),
)  # fmt: skip


def _rows(report: dict) -> list[Row]:
    figures = report.get("fvd")
    return [_row("FVD", figures, "value", "", 1), _row("KVD", figures, "kvd", "kvd_", 2)] if figures else []


def _row(label: str, figures: dict, value: str, prefix: str, digits: int) -> Row:
    """A distance with its baselines, that from other clips, and that of real videos."""
    baselines = [figures.get(f"{value}_{name}") for name in ("copy_last", "background")]
    shown = ["" if value is None else number(value, digits) for value in baselines]
    unpaired, floor = (number(figures[prefix + name], digits) for name in ("unpaired", "floor"))
    note = f"{figures['videos']} videos; with other clips {unpaired}, real ones {floor}"
    return label, number(figures[value], digits), *shown, note


def _measure(evaluation: Evaluation) -> dict:
    settings = evaluation.config.fvd
    features = load_features(settings.frames, settings.resize)
    prompt, seed = evaluation.config.prompt_frames, evaluation.config.seed
    clips = evaluation.held_out(evaluation.run.data_config, 2 * settings.videos, prompt + settings.frames)
    return {"fvd": evaluate_distances(evaluation.run, clips, features, prompt, settings.baselines, seed)}


FVD = Part(
    "fvd",
    _measure,
    needs=("genie", "dynamics"),
    metrics=METRICS,
    titles={"fvd": "FVD"},
    rows=_rows,
)
