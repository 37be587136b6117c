"""Rollouts: quality against the horizon, and ΔPSNR, the effect of the actions.

Fully autoregressive: after the prompt every frame is made from generated tokens. The actions are those that the
latent action model infers from the true video, or the recorded ones for a world that takes these.

Dimension letters: `N` clips, `B` batch, `T` frames, `P` frames of the prompt, `n` horizon, `C H W` channels and pixels.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data_modules.held_out_clips import Clips
from genie.common.errors import UserError
from genie.common.media import border_by_origin, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import plot_horizon
from genie.common.profiling import GenerationCost
from genie.common.random import Stream, fold_in
from genie.common.settings.evaluation import EvaluateConfig
from genie.evaluation.latent_actions import actions_between
from genie.evaluation.part import Evaluation, Part, Row, compared, number
from genie.evaluation.rollout_objects import OBJECT_METRICS, RolloutObjects, object_rows
from genie.evaluation.tokenizer import SSIM, reconstruct
from genie.evaluation.trained_run import LeftOut, TrainedRun
from genie.metrics.metric_info import HIGHER, LOWER, Definition, MetricInfo
from genie.metrics.psnr import AVERAGES, DeltaPSNR, HorizonPSNR, HorizonSSIM
from genie.world.world_model import WorldModel

# endings of metrics' names: of the generated video, then of its references
CURVES = ("", "_copy_last", "_background", "_random_actions", "_reconstruction")
SCORES = {"psnr": HorizonPSNR, "ssim": HorizonSSIM}
UNITS = {"psnr": "PSNR [dB]", "ssim": "SSIM"}
SHOWN = 6  # clips in a video


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

    @classmethod
    def of(cls, config: EvaluateConfig) -> "RolloutSettings":
        """Those of the configuration `evaluate`; UserError for an invalid value."""
        delta = config.delta_psnr
        for t in delta.t:
            if t > config.horizon:
                raise UserError(f"delta_psnr.t={delta.t}: {t} is not in 1 … horizon={config.horizon}")
        times = tuple(delta.t)
        return cls(config.prompt_frames, config.horizon, times, delta.seeds, config.seed, config.fps)


def evaluate_rollout(run: TrainedRun, clips: Clips, settings: RolloutSettings, folder: Path) -> dict[str, dict]:
    """{"rollout": …, "rollout_objects": …, "delta_psnr": …, "cost": …}; writes rollout.mp4 and plots.

    rollout: `HorizonCurves` of `psnr` (dB, pooled) and `ssim`, with the baselines `_copy_last` (the prompt's last
    frame), `_background` and `_random_actions` (the same world under random actions) and the ceiling `_reconstruction`
    (the true frames through the tokenizer); `passes_per_frame` of the dynamics.

    rollout_objects: see `RolloutObjects`; only for data that record object positions. delta_psnr: see `Deltas`.
    cost: `seconds_per_frame` of generating, a batch of clips at a time.
    """
    prompt, horizon = settings.prompt_frames, settings.horizon
    curves, deltas = HorizonCurves(horizon), Deltas(settings.times, settings.num_seeds)
    objects = RolloutObjects(clips, prompt, horizon) if clips.has_objects else None
    made, world, cost = [], run.world, GenerationCost()
    for numbers, batch in clips.numbered_batches():
        frames, actions = batch.floats(), true_actions(run, batch)
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


def true_actions(run: TrainedRun, clips: Clips) -> Tensor:
    """The actions int64 [N, T-1] between the frames of clips, in the world's own numbering, on its device."""
    return actions_between(run.world, clips)


def known_actions(run: TrainedRun, clips: Clips, count: int) -> Tensor:
    """The first `count` of `true_actions`, zeros where none are known: they matter little beside given frames."""
    try:
        return true_actions(run, clips)[:, :count]
    except LeftOut:
        return torch.zeros(len(clips), count, dtype=torch.int64, device=run.world.device)


def random_actions(num_actions: int, count: int, seeds: Tensor) -> Tensor:
    """Uniform actions int64 [B, count], those of each clip from its own of the seeds int64 [B]."""
    rows = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(fold_in(seed, Stream.RANDOM_ROLLOUT))
        rows.append(torch.randint(num_actions, (count,), generator=generator))
    return torch.stack(rows)


def clip_seeds(seed: int, clips: range, *more: int) -> Tensor:
    """A seed for each of the clips of these numbers, int64 [B]: the draws of a clip do not depend on its batch."""
    return torch.tensor([fold_in(seed, clip, *more) for clip in clips])


def generate(
    world: WorldModel, frames: Tensor, actions: Tensor, prompt: int, count: int, seed: int | Tensor,
    cost: GenerationCost | None = None,
) -> Tensor:  # fmt: skip
    """`count` frames [B, count, C, H, W] in [0, 1] after the first `prompt` ones, on the CPU.

    frames [B, T, C, H, W] in [0, 1]; actions int64 [B, ≥ prompt - 1 + count], of which the first prompt - 1 lie
    between the frames of the prompt. The same seed (one, or int64 [B]) draws the same noise, whatever the actions.
    Passes and time are added to `cost`.
    """
    started = time.monotonic()
    coming = actions[:, prompt - 1 : prompt - 1 + count]
    given = frames[:, :prompt].to(world.device)
    steps = list(world.steps(given, coming, seed, prompt_actions=actions[:, : prompt - 1]))
    made = torch.stack([step.observation for step in steps], dim=1).cpu()
    if cost is not None:
        cost.add(torch.cat([step.passes for step in steps]).tolist(), time.monotonic() - started)
    return made


class HorizonCurves:
    """Scores of the videos `CURVES` over batches of clips, against the `horizon`."""

    def __init__(self, horizon: int) -> None:
        self.metrics = {(score, end): SCORES[score](horizon) for score in SCORES for end in CURVES}

    def update(self, videos: dict[str, Tensor], target: Tensor) -> None:
        """A video [B, n, C, H, W] in [0, 1] under each name (or what can be broadcast to that), and the true one."""
        for (_, end), metric in self.metrics.items():
            metric.update(videos[end], target)

    def figures(self, folder: Path) -> dict:
        """For each score and video a list over the horizon with its first, last and mean value;
        `horizons_above_copy_last`, the number of horizons at which PSNR is above that of the copy. Draws the curves."""
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


class Deltas:
    """ΔPSNR at each of the frames `times`, over `num_draws` draws of random actions."""

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


def _compare_draws(
    deltas: Deltas, world: WorldModel, frames: Tensor, actions: Tensor, generated: Tensor,
    settings: RolloutSettings, clips: range, cost: GenerationCost,
) -> Tensor:  # fmt: skip
    """Each draw has its own random actions and its own sampling noise, the same for both videos. Returns the first
    draw's video [B, n, C, H, W] under random actions, whose noise is that of `generated`."""
    prompt, target = settings.prompt_frames, frames[:, settings.prompt_frames :]
    videos = []
    for draw in range(settings.num_seeds):
        count = max(settings.times, default=0) if draw else settings.horizon
        seeds = clip_seeds(settings.seed, clips, draw)
        drawn = random_actions(world.num_actions, count, seeds).to(actions.device)
        other = torch.cat([actions[:, : prompt - 1], drawn], dim=1)
        inferred = generate(world, frames, actions, prompt, count, seeds, cost) if draw else generated
        videos.append(generate(world, frames, other, prompt, count, seeds, cost))
        deltas.update(draw, target, inferred, videos[-1])
    return videos[0]


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


ROLLOUT_DEFINITION = Definition(
    "rollout", "Rollout", "Rollout",
    "Fully autoregressive: after the given frames every frame is made from generated tokens, with the actions "
    "inferred from the true video (or the recorded ones, for a world that takes these), and compared with the true "
    "frame of the same moment. The true frames through the tokenizer alone are the best that can be expected.",
)  # fmt: skip
DELTA_PSNR = Definition(
    "delta_psnr", "ΔPSNR: do actions matter?", "ΔtPSNR: do actions matter?",
    "PSNR of the t-th generated frame with inferred actions, minus that with random ones, from the same prompt "
    "and noise: 0 means that the actions are ignored. The mean over clips, then over draws of random actions; ± is "
    "the standard deviation between draws. Pooled: both PSNRs over all clips before they are subtracted.",
)  # fmt: skip


def _psnr(end: str, label: str, says: str) -> MetricInfo:
    return MetricInfo(f"rollout.psnr_{end}", label, says, ROLLOUT_DEFINITION, "dB", better=HIGHER)


METRICS = (
    _psnr("first", "PSNR, first frame", "past frames are true, the frame is generated"),
    _psnr("last", "PSNR, last frame", "everything since the prompt is generated"),
    MetricInfo("rollout.psnr_mean", "PSNR, mean over the horizon", "generated frames against true ones",
               ROLLOUT_DEFINITION, "dB", better=HIGHER, logged="rollout/psnr_mean"),
    MetricInfo("rollout.ssim_{end:first|last|mean}", "SSIM, {end}",
               "generated frames against true ones, by local structure", SSIM, digits=3, better=HIGHER),
    MetricInfo("rollout.psnr_by_horizon", "PSNR by horizon", "", ROLLOUT_DEFINITION, "dB", better=HIGHER,
               logged="rollout/psnr_h{h:d}"),
    MetricInfo("rollout.ssim_by_horizon", "SSIM by horizon", "", SSIM, digits=3, better=HIGHER),
    MetricInfo("rollout.horizons_above_copy_last", "horizons above the copy",
               "generated frames that beat a copy of the last given one", ROLLOUT_DEFINITION, digits=0, better=HIGHER),
    MetricInfo("rollout.passes_per_frame", "passes per frame", "of the dynamics, for one generated frame", digits=1,
               better=LOWER, logged="rollout/passes_per_frame"),
    MetricInfo("delta_psnr.t{t:d}", "ΔPSNR, t = {t}", "what random actions cost; 0: actions are ignored", DELTA_PSNR,
               "dB", better=HIGHER, logged="rollout/delta_psnr_t{t:d}"),
    MetricInfo("delta_psnr.t{t:d}_pooled", "ΔPSNR, t = {t}, pooled", "clips in which much moves decide it", DELTA_PSNR,
               "dB", better=HIGHER, logged="rollout/delta_psnr_t{t:d}_pooled"),
    *OBJECT_METRICS,
)  # fmt: skip


def delta_psnr_rows(report: dict) -> list[Row]:
    """ΔPSNR of the world, then that of the replayed environment at the last t."""
    delta, rows = report.get("delta_psnr", {}), []
    for name in [name for name in delta if name[1:].isdigit()]:
        note = f"± {number(delta[f'{name}_spread'])}, pooled {number(delta[f'{name}_pooled'])}"
        rows.append((f"ΔPSNR, t = {name[1:]}", number(delta[name]), "", "", note))
    if simulated := [name for name in delta if name.endswith("_simulator")]:
        name = simulated[-1]
        tokens = f", by tokens {number(delta[f'{name}_tokens'])}" if f"{name}_tokens" in delta else ""
        note = f"pooled {number(delta[f'{name}_pooled'])}{tokens}"
        rows.append((f"… of the simulator, t = {name[1:-10]}", number(delta[name]), "", "", note))
    return rows


def _rows(report: dict) -> list[Row]:
    figures = report.get("rollout")
    if not figures:
        return object_rows(report)
    horizon, rows = report["horizon"], []
    for end, label in (("first", "frame 1"), ("last", f"frame {horizon}"), ("mean", "mean")):
        note = f"tokenizer alone {number(figures[f'psnr_reconstruction_{end}'])}"
        if end == "mean":
            note += f", random actions {number(figures['psnr_random_actions_mean'])}"
        rows.append(compared(f"rollout PSNR, {label}", figures, "psnr", f"_{end}", note=note))
    rows.append(compared("rollout SSIM, mean", figures, "ssim", "_mean", digits=3))
    won = f"{figures['horizons_above_copy_last']}/{horizon}"
    rows.append(("rollout above copy last", won, "", "", "horizons"))
    milliseconds = 1000 * report["cost"]["rollout"]["seconds_per_frame"]
    rows.append(("passes per frame", f"{figures['passes_per_frame']:.1f}", "", "", f"{milliseconds:.0f} ms a frame"))
    return rows + object_rows(report)


def _measure(evaluation: Evaluation) -> dict:
    settings = RolloutSettings.of(evaluation.config)
    return evaluate_rollout(evaluation.run, evaluation.clips, settings, evaluation.folder)


ROLLOUT = Part(
    "rollout",
    _measure,
    needs=("genie", "dynamics"),
    check=RolloutSettings.of,
    metrics=METRICS,
    titles={
        "rollout": "Rollout",
        "rollout_objects": "Objects in rollouts",
        "delta_psnr": "ΔPSNR: do actions matter?",
    },
    rows=_rows,
    optional={"rollout_objects": "the data record no object positions"},
)
