"""Rollouts: quality against the horizon, controllability, objects.

PSNR and SSIM of rollouts against the horizon, beside the videos that need no model and those that bound it.

ΔPSNR at several frames and from several draws of random actions, for a generated world and for the simulator.

Objects in rollouts: is the ball still there after ten generated frames, once, and where it should be?

True and imagined videos beside each other, with their difference.

The world as a whole: how far does a generated video stay true, and do its actions decide what happens?

Fully autoregressive: after the prompt every frame is made from generated tokens. The actions are those that the
latent action model reads from the true video, or the recorded ones for a world that takes these.

Dimension letters: `N` clips, `T` frames, `P` given ones, `C H W` channels and pixels.

Dimension letters: `N` clips, `B` batch, `P` frames of the prompt, `n` horizon, `C H W` channels and pixels.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genie.common.media import border_by_origin, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import plot_horizon, plot_objects
from genie.common.profiling import GenerationCost
from genie.common.random import Stream, fold_in
from genie.evaluation.clips import Clips
from genie.evaluation.latent_actions import actions_between, true_names
from genie.evaluation.tokenizer import reconstruct
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.actions import Obedience
from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import ConstantVelocity, ObjectPresence, blobs_at, places, reference
from genie.metrics.psnr import AVERAGES, DeltaPSNR, HorizonPSNR, HorizonSSIM
from genie.world.world_model import WorldModel

# the generated video, then what it is compared with, as their figures' names end
CURVES = ("", "_copy_last", "_background", "_random_actions", "_reconstruction")
SCORES = {"psnr": HorizonPSNR, "ssim": HorizonSSIM}
UNITS = {"psnr": "PSNR [dB]", "ssim": "SSIM"}


class HorizonCurves:
    """Collects the videos named in `VIDEOS` over batches of clips; `horizon` frames each."""

    def __init__(self, horizon: int) -> None:
        self.metrics = {(score, end): SCORES[score](horizon) for score in SCORES for end in CURVES}

    def update(self, videos: dict[str, Tensor], target: Tensor) -> None:
        """A video [B, n, C, H, W] in [0, 1] under each name (or what can be broadcast to that), and the true one."""
        for (_, end), metric in self.metrics.items():
            metric.update(videos[end], target)

    def figures(self, folder: Path) -> dict:
        """A list over the horizon for each score and video, its first, last and mean value, and
        `horizons_above_copy_last`, at how many horizons the PSNR is above that of the copy; draws the curves."""
        values = {key: metric.compute().tolist() for key, metric in self.metrics.items()}
        pairs = zip(values["psnr", ""], values["psnr", "_copy_last"], strict=True)
        figures: dict = {"horizons_above_copy_last": sum(ours > copied for ours, copied in pairs)}
        for (score, end), curve in values.items():
            name = f"{score}{end}"
            figures |= {f"{name}_first": curve[0], f"{name}_last": curve[-1], f"{name}_mean": sum(curve) / len(curve)}
            figures[f"{name}_by_horizon"] = curve
        for score, unit in UNITS.items():
            plot_horizon({end: values[score, end] for end in CURVES}, unit, folder / f"rollout_{score}.png")
        return figures


def random_actions(num_actions: int, count: int, seeds: Tensor) -> Tensor:
    """Uniform actions int64 [B, count], those of each clip from its own of the seeds int64 [B]."""
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(fold_in(seed, Stream.RANDOM_ROLLOUT))
        rows.append(torch.randint(num_actions, (count,), generator=generator))
    return torch.stack(rows)


class Deltas:
    """Collects videos and gives the figures: at each of the frames `times`, over `num_draws` draws."""

    def __init__(self, times: tuple[int, ...], num_draws: int) -> None:
        self.draws = [
            {(t, average): DeltaPSNR(t, average) for t in times for average in AVERAGES} for _ in range(num_draws)
        ]

    def update(self, draw: int, target: Tensor, inferred: Tensor, random: Tensor) -> None:
        """The videos of draw number `draw`, as `DeltaPSNR` takes them."""
        for metric in self.draws[draw].values():
            metric.update(target, inferred, random)

    def figures(self, name: str = "") -> dict[str, float]:
        """For each t the mean over draws, `t<t><name>`, of the per-clip ΔPSNR (dB), its standard deviation over draws
        `t<t><name>_spread`, and `t<t><name>_pooled` (see `DeltaPSNR`)."""
        figures = {}
        for t, average in self.draws[0]:
            values = torch.stack([metrics[t, average].compute() for metrics in self.draws])
            key = f"t{t}{name}"
            if average == "clip":
                figures[key] = float(values.mean())
                figures[f"{key}_spread"] = float(values.std()) if len(values) > 1 else 0.0
            else:
                figures[f"{key}_{average}"] = float(values.mean())
        return figures


# name of a video in the figures -> how it is called among those of the rollout
OBJECT_VIDEOS = {"generated": "", "copy_last": "_copy_last", "reconstruction": "_reconstruction"}
TRACKER = "constant_velocity"  # gives positions and no video
FIGURES = ("present", "in_place", "doubled", "mass", "distance_mean", "distance_median", "invented")
RALLY_FIGURES = ("present", "in_place", "doubled", "distance_mean", "distance_median")
NOT_TRACKED = ("doubled", "mass")  # what only pictures have
ENDS = ("low", "high")  # of the intervals over clips
WITH_INTERVALS = ("present", "in_place", "doubled", "invented", "distance_mean")


class RolloutObjects:
    """Collects the videos of rollouts over batches of clips; the detector and the tracker learn from all frames of
    `clips`, which record object positions; `prompt` given frames, then `horizon` generated ones."""

    def __init__(self, clips: Clips, prompt: int, horizon: int) -> None:
        detector = ObjectDetector(clips.floats().flatten(0, 1), clips.objects.flatten(0, 1), clips.background)
        self.names, self.prompt, self.horizon = clips.object_names, prompt, horizon
        self.tracker = ConstantVelocity(clips.objects)
        self.metrics = {name: ObjectPresence(detector, horizon) for name in (*OBJECT_VIDEOS, TRACKER)}
        self.rallies = {name: ObjectPresence(detector, horizon) for name in (*OBJECT_VIDEOS, TRACKER)}
        self.obedience = None
        if clips.actions is not None and clips.info.num_actions:
            self.obedience = Obedience(len(self.names), clips.info.num_actions)
            self.actions = true_names(clips)
        self.detector = detector

    def update(self, videos: dict[str, Tensor], batch: Clips) -> None:
        """The videos [B, n, C, H, W] in [0, 1] (or what can be broadcast to that) after the prompts of `batch`."""
        truth = reference(self.detector, batch.floats(), batch.objects)
        after, rally = truth.after(self.prompt), truth.rally(self.prompt)
        shape = after.seen.shape
        found = {TRACKER: blobs_at(self.tracker(batch.objects[:, : self.prompt], self.horizon))}
        for name, called in OBJECT_VIDEOS.items():
            video = videos[called]
            found[name] = self.detector.blobs(video.expand(*shape[:2], *video.shape[2:]).flatten(0, 1))
        for name, blobs in found.items():
            self.metrics[name].update(blobs, after)
            self.rallies[name].update(blobs, rally)
        if self.obedience is not None:
            made = places(self.detector, found["generated"], shape)
            self.obedience.update(made, batch.objects, batch.actions[:, :-1].cpu())

    def figures(self, folder: Path) -> dict[str, dict]:
        """By object that is seen at all: the counts `seen` and `absent`, `false_alarms`, and for each of `VIDEOS` the
        `FIGURES` of `ObjectPresence`, over all horizons and `_by_horizon`, with the `_low` and `_high` ends of their
        intervals over clips; under `rally` the same of the frames of rallies, with the counts `frames` and
        `clips_by_horizon` of these; and for the object that the actions move its `obedience`. The tracker
        `constant_velocity` stands beside the videos. Draws rollout_objects.png."""
        values = {name: metric.compute() for name, metric in self.metrics.items()}
        rallies = {name: metric.compute() for name, metric in self.rallies.items()}
        figures: dict[str, dict] = {}
        for index, name in enumerate(self.names):
            counts, rally = values["generated"], rallies["generated"]
            if not counts["seen"][index]:
                continue
            figures[name] = {
                "seen": int(counts["seen"][index]),
                "absent": int(counts["absent"][index]),
                "false_alarms": float(counts["false_alarms"][index]),
                **_of_object(values, index, FIGURES),
            }
            if rally["seen"][index]:
                figures[name]["rally"] = {
                    "frames": int(rally["seen"][index]),
                    "clips_by_horizon": [int(count) for count in rally["seen_by_horizon"][index]],
                    **_of_object(rallies, index, RALLY_FIGURES),
                }
        if obeyed := self._obedience():
            figures.get(obeyed.pop("object"), {})["obedience"] = obeyed
        if figures:
            plot_objects(figures, folder / "rollout_objects.png")
        return figures

    def _obedience(self) -> dict | None:
        """What `Obedience` says, `object` by its name and the `actions` by theirs."""
        found = self.obedience.compute() if self.obedience is not None else None
        if found is None:
            return None
        columns = [found.pop(name).tolist() for name in ("generated", "true", "count")]
        found["object"] = self.names[found["object"]]
        found["actions"] = {
            action: {"generated": made, "true": true, "transitions": int(count)}
            for action, made, true, count in zip(self.actions, *columns, strict=True)
        }
        return found


def _of_object(values: dict[str, dict[str, Tensor]], index: int, names: tuple[str, ...]) -> dict[str, dict]:
    """Of object number `index`, by video: each of the figures `names`, and its curve over the horizon."""
    found: dict[str, dict] = {}
    for video, computed in values.items():
        shown = [name for name in names if video != TRACKER or name not in NOT_TRACKED]
        shown += [f"{name}_{end}" for name in shown if name in WITH_INTERVALS for end in ENDS]
        found[video] = {figure: float(computed[figure][index]) for figure in shown}
        found[video] |= {f"{figure}_by_horizon": computed[f"{figure}_by_horizon"][index].tolist() for figure in shown}
    return found


SHOWN = 6  # clips in a video


def draw_videos(truth: Tensor, imagined: Tensor, prompt: int, labels: list[str], fps: float, path: Path) -> None:
    """A row for each of some clips, in columns with `labels`: the truth, the imagined video and their difference.

    truth uint8 [N, T, C, H, W], of which the first P = `prompt` frames were given; imagined uint8 [N, T-P, C, H, W].
    """
    count = min(SHOWN, len(truth))
    chosen = torch.arange(count) * len(truth) // count
    scale = scale_to(truth.shape[-2], 128)
    true = truth[chosen]
    video = torch.cat([true[:, :prompt], imagined[chosen]], dim=1)
    error = (video.int() - true.int()).abs().byte()
    parts = [
        border_by_origin(enlarge(to_bytes(part), scale).swapaxes(0, 1), prompt, 3) for part in (true, video, error)
    ]
    rows = [[part[:, index] for part in parts] for index in range(count)]
    write_mp4(path, grid(rows, column_labels=labels), fps)


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


def true_actions(subject: TrainedRun, clips: Clips) -> Tensor:
    """The actions int64 [N, T-1] between the frames of clips, in the world's own numbering, on its device."""
    return actions_between(subject.world, clips)


def known_actions(subject: TrainedRun, clips: Clips, count: int) -> Tensor:
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


def evaluate_rollout(subject: TrainedRun, clips: Clips, settings: RolloutSettings, folder: Path) -> dict[str, dict]:
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
