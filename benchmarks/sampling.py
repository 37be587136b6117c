"""How few passes does a frame need? `python -m benchmarks.sampling run=outputs/pong` prints the table of the README.

On held-out test clips of a trained world, for each sampler: passes and milliseconds per frame (one world alone, taking
turns), the share of right tokens in the first generated frame (temporally teacher-forced: its past is true), PSNR of
the rollout against the truth (pooled over all frames and clips) and ΔPSNR at the 4th frame (mean over clips). Each
figure but the time is a mean over seeds, ± the standard deviation between them.

    clips=32 seeds=3 horizon=10 prompt_frames=4 temperature=0.5 only=adaptive
"""

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from genie.evaluation.clips import Clips, load_clips
from genie.evaluation.rollout import clip_seeds, true_actions
from genie.evaluation.subject import Subject
from genie.hardware import keep_freed_memory
from genie.metrics.delta_psnr import DeltaPSNR
from genie.metrics.psnr import psnr
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

DELTA_T = 4  # the paper's


def samplers(temperature: float) -> dict[str, Sampler]:
    """The rows of the table."""
    maskgit = {f"maskgit, {steps} steps": Sampler(steps, temperature) for steps in (25, 12, 8, 6, 2)}
    adaptive = {f"adaptive, {bound} nats": Sampler(25, temperature, entropy_bound=bound) for bound in (1.0, 1.5, 2.0)}
    return maskgit | {"maskgit, 25 steps, temperature 2": Sampler(25, 2.0), "greedy": Sampler(1, 0.0)} | adaptive


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


def quality(world: WorldModel, clips: Clips, actions: Tensor, prompt: int, horizon: int, seed: int) -> dict:
    """The figures of the world's sampler for one seed."""
    frames, seeds = clips.floats(), clip_seeds(seed, range(len(clips)))
    made, tokens, passes = generate(world, frames, actions, prompt, horizon, seeds)
    true_tokens = world.tokenizer.encode(frames[:, : prompt + 1])[:, -1]
    drawn = torch.randint(world.num_actions, actions.shape, generator=torch.Generator().manual_seed(seed))
    drawn[:, : prompt - 1] = actions[:, : prompt - 1]
    random, _, _ = generate(world, frames, drawn, prompt, DELTA_T, seeds)
    delta = DeltaPSNR(DELTA_T, "clip")
    delta.update(frames[:, prompt:], made, random)
    return {
        "passes": passes,
        "accuracy": float((tokens == true_tokens).float().mean()),
        "psnr": float(psnr((made - frames[:, prompt:]).square().mean())),
        "delta": float(delta.compute()),
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
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    run, only = Path(given.get("run", "outputs/pong")), given.get("only", "")
    count, num_seeds, horizon, prompt = (
        int(given.get(name, default))
        for name, default in [("clips", 32), ("seeds", 3), ("horizon", 10), ("prompt_frames", 4)]
    )
    subject = Subject(run, torch.device("cpu"), {**dict.fromkeys(("steps", "temperature", "order", "entropy_bound")),
                                                 "new_sampler": False})  # fmt: skip
    world = subject.world
    clips = load_clips(subject.data_config, None, "test", count, prompt + horizon, count)
    actions = true_actions(subject, clips)
    rows = {name: value for name, value in samplers(float(given.get("temperature", 0.5))).items() if only in name}
    print(f"{run}, {len(clips)} test clips, {prompt} + {horizon} frames, {num_seeds} seeds")
    times: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(min(6, count)):
        for name, sampler in rows.items():
            world.sampler = sampler
            times[name].append(milliseconds(world, clips, actions, prompt, horizon, number))
    print("| sampler | passes | ms per frame | tokens right | rollout PSNR | ΔPSNR(4) |")
    print("|---|---|---|---|---|---|")
    for name, sampler in rows.items():
        world.sampler = sampler
        figures = [quality(world, clips, actions, prompt, horizon, seed) for seed in range(num_seeds)]
        cells = []
        for key, scale, digits in [("passes", 1, 1), ("accuracy", 100, 1), ("psnr", 1, 2), ("delta", 1, 2)]:
            values = [scale * figure[key] for figure in figures]
            if not values:  # seeds=0: the time alone
                cells.append("")
                continue
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 and key != "passes" else ""
            cells.append(f"{statistics.mean(values):.{digits}f}{'%' if key == 'accuracy' else ''}{spread}")
        cells.insert(1, f"{statistics.median(times[name]):.0f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
