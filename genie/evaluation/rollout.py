"""The world as a whole: how far does a generated video stay true, and do its actions decide what happens?

Fully autoregressive: after the prompt every frame is made from generated tokens. The actions are those that the
latent action model reads from the true video, or the recorded ones for a world that takes these.

Dimension letters: `N` clips, `B` batch, `P` frames of the prompt, `n` horizon, `C H W` channels and pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data_modules.seeding import mix
from genie.evaluation.clips import Clips
from genie.evaluation.latent_actions import infer_actions
from genie.evaluation.plots import plot_horizon
from genie.evaluation.reconstruction import reconstruct
from genie.evaluation.subject import LeftOut, Subject, Trained
from genie.media import border_by_origin, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.metrics.delta_psnr import AVERAGES, DeltaPSNR
from genie.metrics.horizon import HorizonPSNR
from genie.world.world_model import WorldModel

SHOWN = 6  # clips in the video
RANDOM_STREAM = 1  # keeps the draws of random actions apart from those of the sampler


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
    world = subject.world
    if subject.takes_environment_actions:
        if clips.actions is None:
            raise LeftOut("the world takes true actions and the data record none")
        return clips.actions[:, :-1].to(world.device)
    if world.lam is None:
        raise LeftOut(f"{subject.run} holds no latent action model that this dynamics was trained with")
    return infer_actions(Trained(world.lam, world.window), clips.floats())


def clip_seeds(seed: int, clips: range, *more: int) -> Tensor:
    """A seed for each of the clips of these numbers, int64: what a clip draws does not depend on its batch."""
    return torch.tensor([mix(seed, clip, *more) for clip in clips])


def generate(world: WorldModel, frames: Tensor, actions: Tensor, prompt: int, count: int, seed: int | Tensor) -> Tensor:
    """`count` frames [B, count, C, H, W] in [0, 1] after the first `prompt` ones, on the CPU.

    frames [B, T, C, H, W] in [0, 1]; actions int64 [B, ≥ prompt - 1 + count], of which the first prompt - 1 lie
    between the frames of the prompt. The same seed (one, or int64 [B]) draws the same noise, whatever the actions.
    """
    coming = actions[:, prompt - 1 : prompt - 1 + count]
    given = frames[:, :prompt].to(world.device)
    return world.rollout(given, coming, seed, prompt_actions=actions[:, : prompt - 1]).cpu()


def evaluate_rollout(subject: Subject, clips: Clips, settings: RolloutSettings, folder: Path) -> dict[str, dict]:
    """{"rollout": …, "delta_psnr": …}; writes rollout.mp4 and rollout_psnr.png.

    rollout: for `psnr`, the baselines `psnr_copy_last` (the prompt's last frame) and `psnr_background`, and the
    ceiling `psnr_reconstruction` (the true frames through the tokenizer): a list over the horizon (dB, pooled), the
    mean over it, and the first and last value; `horizons_above_copy_last`, how many of the horizons the world wins.

    delta_psnr: for each t the mean over seeds, `t<t>`, of the per-clip ΔPSNR (dB), its standard deviation over
    seeds `t<t>_spread`, and `t<t>_pooled` (see `DeltaPSNR`).
    """
    prompt, horizon = settings.prompt_frames, settings.horizon
    names = ("psnr", "psnr_copy_last", "psnr_background", "psnr_reconstruction")
    curves = {name: HorizonPSNR(horizon) for name in names}
    deltas = [
        {(t, average): DeltaPSNR(t, average) for t in settings.times for average in AVERAGES}
        for _ in range(settings.num_seeds)
    ]
    made, world = [], subject.world
    for first, batch in zip(range(0, len(clips), clips.batch_size), clips.batches(), strict=True):
        numbers = range(first, first + len(batch))
        frames, actions = batch.floats(), true_actions(subject, batch)
        target = frames[:, prompt:]
        generated = generate(world, frames, actions, prompt, horizon, clip_seeds(settings.seed, numbers, 0))
        made.append((generated * 255).round().byte())
        curves["psnr"].update(generated, target)
        curves["psnr_copy_last"].update(frames[:, prompt - 1 : prompt], target)
        curves["psnr_background"].update(clips.background.expand_as(target), target)
        rebuilt, _ = reconstruct(world.tokenizer, frames, world.window)
        curves["psnr_reconstruction"].update(rebuilt[:, prompt:], target)
        _update_deltas(deltas, world, frames, actions, generated, settings, numbers)
    values = {name: curve.compute().tolist() for name, curve in curves.items()}
    plot_horizon(values, folder / "rollout_psnr.png")
    _video(clips, torch.cat(made), settings, folder)
    return {"rollout": _summary(values), **({"delta_psnr": _spread(deltas)} if deltas and settings.times else {})}


def _update_deltas(
    deltas: list[dict], world: WorldModel, frames: Tensor, actions: Tensor, generated: Tensor,
    settings: RolloutSettings, clips: range,
) -> None:  # fmt: skip
    """Each seed draws its own random actions and its own sampling noise, the same for both videos."""
    prompt = settings.prompt_frames
    for number, metrics in enumerate(deltas):
        count = max(settings.times, default=0)
        seeds = clip_seeds(settings.seed, clips, number)
        drawn = torch.stack([_random_actions(world, count, seed) for seed in seeds.tolist()]).to(actions.device)
        random_actions = torch.cat([actions[:, : prompt - 1], drawn], dim=1)
        inferred = generated if number == 0 else generate(world, frames, actions, prompt, count, seeds)
        random = generate(world, frames, random_actions, prompt, count, seeds)
        for metric in metrics.values():
            metric.update(frames[:, prompt:], inferred, random)


def _random_actions(world: WorldModel, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(mix(seed, RANDOM_STREAM))
    return torch.randint(world.num_actions, (count,), generator=generator)


def _summary(values: dict[str, list[float]]) -> dict:
    pairs = zip(values["psnr"], values["psnr_copy_last"], strict=True)
    figures: dict = {"horizons_above_copy_last": sum(ours > copied for ours, copied in pairs)}
    for name, curve in values.items():
        figures |= {f"{name}_first": curve[0], f"{name}_last": curve[-1], f"{name}_mean": sum(curve) / len(curve)}
        figures[f"{name}_by_horizon"] = curve
    return figures


def _spread(deltas: list[dict]) -> dict:
    figures = {}
    for t, average in deltas[0]:
        values = torch.stack([metrics[t, average].compute() for metrics in deltas])
        name = f"t{t}" if average == "clip" else f"t{t}_{average}"
        figures[name] = float(values.mean())
        if average == "clip":
            figures[f"{name}_spread"] = float(values.std()) if len(values) > 1 else 0.0
    return figures


def _video(clips: Clips, generated: Tensor, settings: RolloutSettings, folder: Path) -> None:
    """Three rows: the truth, the generated video and their difference; one column for each of some clips."""
    prompt, count = settings.prompt_frames, min(SHOWN, len(clips))
    chosen = torch.arange(count) * len(clips) // count
    scale = scale_to(clips.frames.shape[-2], 128)
    truth = clips.frames[chosen]
    video = torch.cat([truth[:, :prompt], generated[chosen]], dim=1)
    error = (video.int() - truth.int()).abs().byte()
    rows = [
        [border_by_origin(enlarge(to_bytes(clip), scale), prompt, 3) for clip in part] for part in (truth, video, error)
    ]
    labels = ["truth", "generated", "error"]
    write_mp4(folder / "rollout.mp4", grid(rows, row_labels=labels), settings.fps)
