"""Which sampler? `python -m benchmarks.sampling run=outputs/pong` compares them: docs/sampling.md.

On held-out test clips of a trained world, for each sampler: passes and milliseconds per frame (one world alone, taking
turns), the share of right tokens in the first generated frame (temporally teacher-forced: its past is true), PSNR of
the rollout against the truth (pooled over all frames and clips) and ΔPSNR at the 4th frame (mean over clips). Of data
that record objects also the first of them, which is the smallest in Pong: the share of rally frames in which it is in
its place 1, 5 and 10 frames after the prompt, and the share of generated frames in which it is there twice; and with
`long`, of so many frames that follow random held actions, the shares in which it is there, in each quarter, and twice,
beside those of the recorded frames.

Each figure but the time is a mean over seeds, ± the standard deviation between them.

    clips=32 seeds=3 horizon=10 prompt_frames=4 temperatures=0.5 bounds=0.1,0.5,2 only=adaptive
    long=0 worlds=8                            frames of long rollouts and how many; 0: none, since they take long
"""

import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.arguments import arguments, started
from benchmarks.world_quality import HORIZONS, Judge
from data_modules.held_out_clips import Clips, load_clips
from genie.common.device import keep_freed_memory
from genie.common.settings.kinds import Count, FromZero, NotNegative, Place, Settings, Some
from genie.evaluation.long_videos import held_actions, imagined_stretches, watch
from genie.evaluation.rollout import clip_seeds, true_actions
from genie.evaluation.trained_run import TrainedRun
from genie.metrics.long_videos import shares, shares_by_quarter
from genie.metrics.psnr import DeltaPSNR, psnr
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel


class Arguments(Settings):
    run: Place = "outputs/pong"
    clips: Count = 32
    seeds: FromZero = 3
    horizon: Count = 10
    prompt_frames: Count = 4
    temperatures: Some[NotNegative] = [0.5]
    bounds: Some[NotNegative] = [0.1, 0.5, 2.0]
    only: str = ""
    long: FromZero = 0
    worlds: Count = 8


DELTA_T = 4  # the paper's
HOLD = 3.0  # frames for which a random action is held in the mean, as in genie.evaluate
# figure: (heading, factor, digits, unit)
COLUMNS = {
    "passes": ("passes", 1, 1, ""),
    "accuracy": ("tokens right", 100, 1, "%"),
    "psnr": ("rollout PSNR", 1, 2, ""),
    "delta": ("ΔPSNR(4)", 1, 2, ""),
    **{f"in_place@{step}": (f"in place at {step}", 1, 0, "%") for step in HORIZONS},
    "doubled": ("twice", 1, 1, "%"),
    **{f"quarter{number}": (f"there, quarter {number} of long", 100, 0, "%") for number in range(1, 5)},
    "long_doubled": ("twice, long", 100, 1, "%"),
}


def samplers(temperature: float, bounds: list[float]) -> dict[str, Sampler]:
    """The rows of the table at one temperature, for some bounds of entropy in nats."""
    maskgit = {f"maskgit, {steps} steps": Sampler(steps, temperature) for steps in (25, 12, 8, 6, 4, 2, 1)}
    adaptive = {f"adaptive, {bound:g} nats": Sampler(25, temperature, entropy_bound=bound) for bound in bounds}
    return {f"{name}, temperature {temperature:g}": sampler for name, sampler in (maskgit | adaptive).items()}


def generate(
    world: WorldModel, frames: Tensor, actions: Tensor, prompt: int, count: int, seeds: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Frames [B, count, C, H, W] after the prompt, the tokens [B, S] of the first, and passes per frame."""
    state = world.reset(frames[:, :prompt], actions[:, : prompt - 1], seeds)
    made, first, passes = [], None, []
    for t in range(count):
        state, step = world.step(state, actions[:, prompt - 1 + t])
        first = step.tokens if first is None else first
        made.append(step.observation)
        passes.append(float(step.passes.float().mean()))
    return torch.stack(made, dim=1), first, statistics.mean(passes)


def quality(world: WorldModel, judge: Judge, actions: Tensor, horizon: int, seed: int) -> dict[str, float]:
    """The figures of the world's sampler for one seed."""
    clips, prompt = judge.clips, judge.given
    frames, seeds = clips.floats(), clip_seeds(seed, range(len(clips)))
    made, tokens, passes = generate(world, frames, actions, prompt, horizon, seeds)
    true_tokens = world.tokenizer.encode(frames[:, : prompt + 1])[:, -1]
    drawn = torch.randint(world.num_actions, actions.shape, generator=torch.Generator().manual_seed(seed))
    drawn[:, : prompt - 1] = actions[:, : prompt - 1]
    random, _, _ = generate(world, frames, drawn, prompt, DELTA_T, seeds)
    delta = DeltaPSNR(DELTA_T, "clip")
    delta.update(frames[:, prompt:], made, random)
    figures = {
        "passes": passes,
        "accuracy": float((tokens == true_tokens).float().mean()),
        "psnr": float(psnr((made - frames[:, prompt:]).square().mean())),
        "delta": float(delta.compute()),
    }
    if judge.rally is not None:
        name = clips.object_names[0]
        found = judge.objects(made, judge.rally, tuple(step for step in HORIZONS if step <= horizon))
        figures |= {key.removeprefix(f"{name} "): value for key, value in found.items() if key.startswith(f"{name} ")}
    return figures


def long_run(world: WorldModel, judge: Judge, prompts: Clips, count: int, seed: int) -> dict[str, float]:
    """Shares of `count` frames after the prompts, under random held actions, with the first object there."""
    seeds = clip_seeds(seed, range(len(prompts)))
    actions = held_actions(world.action_space, count, HOLD, seeds)
    tracks = watch(imagined_stretches(world, prompts, actions, seeds), judge.detector).tracks
    quarters = shares_by_quarter(tracks)[:, 0].tolist()
    return {f"quarter{number}": share for number, share in enumerate(quarters, start=1)} | {
        "long_doubled": float(shares(tracks, 2)[0])
    }


def milliseconds(world: WorldModel, clips: Clips, actions: Tensor, prompt: int, horizon: int, number: int) -> float:
    """Per frame, of one world alone."""
    frames, one = clips.floats()[number : number + 1], actions[number : number + 1]
    started = time.perf_counter()
    generate(world, frames, one, prompt, horizon, torch.tensor([0]))
    return 1000 * (time.perf_counter() - started) / horizon


@torch.no_grad()
def main() -> None:
    keep_freed_memory()
    given, _ = arguments(Arguments)
    horizon, prompt = given.horizon, given.prompt_frames
    subject = TrainedRun(Path(given.run), torch.device("cpu"))
    world = subject.world
    clips = load_clips(subject.data_config, None, "test", given.clips, prompt + horizon, given.clips)
    judge = Judge(clips, prompt, world.window)
    actions = true_actions(subject, clips)
    rows = {}
    for temperature in given.temperatures:
        rows |= samplers(temperature, given.bounds)
    rows |= {"maskgit, 25 steps, temperature 2": Sampler(25, 2.0), "greedy": Sampler(1, 0.0)}
    rows = {name: value for name, value in rows.items() if given.only in name}
    print(f"{given.run}, {len(clips)} test clips, {prompt} + {horizon} frames, {given.seeds} seeds")
    long, worlds = given.long, given.worlds
    prompts = load_clips(subject.data_config, None, "test", worlds, prompt, worlds) if long else None
    if long and judge.rally is not None:
        share = torch.isfinite(clips.objects[:, :, 0]).all(-1).float().mean()
        print(f"{clips.object_names[0]} in {100 * share:.0f}% of the recorded frames; {worlds} times {long} frames")
    times: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(min(6, len(clips))):
        for name, sampler in rows.items():
            world.sampler = sampler
            times[name].append(milliseconds(world, clips, actions, prompt, horizon, number))
    shown = None
    for name, sampler in rows.items():
        world.sampler = sampler
        figures = [quality(world, judge, actions, horizon, seed) for seed in range(given.seeds)]
        if long and judge.rally is not None:
            for seed, found in enumerate(figures):
                found |= long_run(world, judge, prompts, long, seed)
        if shown is None:
            shown = [key for key in COLUMNS if not figures or key in figures[0]]
            print(f"| sampler | ms per frame | {' | '.join(COLUMNS[key][0] for key in shown)} |")
            print("|---" * (len(shown) + 2) + "|")
        cells = [cell(key, [found[key] for found in figures]) for key in shown]
        print(f"| {name} | {statistics.median(times[name]):.0f} | {' | '.join(cells)} |", flush=True)


def cell(key: str, values: list[float]) -> str:
    """A mean and its spread; nothing of no seeds: then the time alone is measured."""
    if not values:
        return ""
    _, scale, digits, unit = COLUMNS[key]
    values = [scale * value for value in values]
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 and key != "passes" else ""
    return f"{statistics.mean(values):.{digits}f}{unit}{spread}"


if __name__ == "__main__":
    started(main)
