"""What does a look at held-out clips cost? `python -m benchmarks.monitoring run=outputs/pong` prints it for each stage.

Seconds of a look and of a training step (without the optimiser) of the trained stages, taking turns, with the default
settings of `callbacks.rollouts`; and the share of a training's time at the default interval. CPU seconds on the CPU:
they depend less on what else the machine does.

    turns=2 steps=5 key=value    (keys of callbacks.rollouts)
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.arguments import arguments, configuration, started
from callbacks.rollouts import PARTS, StageEvaluation
from data_modules.clip_data_module import ClipDataModule
from data_modules.held_out_clips import read_clips
from genie.common.device import keep_freed_memory
from genie.common.settings.kinds import Count, Place, Settings
from genie.common.settings.world import Sampled
from genie.evaluation.trained_run import LiveRun
from genie.runs.loading import read_checkpoint
from genie.stages import new_stage


class Arguments(Settings):
    run: Place = "outputs/pong"
    turns: Count = 2
    steps: Count = 5


def seconds(function: Callable[[], object], count: int = 1) -> float:
    """CPU time of one call."""
    started = time.process_time()
    for _ in range(count):
        function()
    return (time.process_time() - started) / count


def measure(run: Path, name: str, settings: dict, turns: int, steps: int) -> tuple[float, float]:
    """Seconds of a look, and of a step."""
    checkpoint = read_checkpoint(run / name / "checkpoints" / "last.ckpt")
    config = checkpoint["hyper_parameters"]["config"]
    config |= {f"{part}_ckpt": str(run / part / "checkpoints" / "last.ckpt") for part in ("tokenizer", "lam")}
    stage = new_stage(config)
    stage.load_dependencies()
    stage.load_state_dict(checkpoint["state_dict"])
    data = ClipDataModule(**config["data"])
    data.setup()
    stage.set_data_info(data.info)
    length = settings["prompt_frames"] + settings["horizon"]
    clips = read_clips(data.clips("val", length, settings["num_clips"]), data.info, settings["batch_size"])
    samples = [data.train_dataset[0, 97 * number] for number in range(data.batch_size)]
    batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
    looks, trained = 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        look = StageEvaluation(LiveRun(stage, run, Sampled(**settings["sampler"])), clips, settings, 0, Path(folder))
        for turn in range(turns + 1):  # the first one is not counted
            stage.eval()
            with torch.inference_mode():
                looks += seconds(lambda: PARTS[name](look)) * bool(turn)
            stage.train()
            trained += seconds(lambda: stage.compute(batch)[0].backward(), steps) * bool(turn)
    return looks / turns, trained / turns


def main() -> None:
    given, others = arguments(Arguments, others=True)
    settings = configuration("train", [f"callbacks.rollouts.{one}" for one in others])["callbacks"]["rollouts"]
    keep_freed_memory()
    for name in ("tokenizer", "lam", "dynamics"):
        look, step = measure(Path(given.run), name, settings, given.turns, given.steps)
        share = look / (look + settings["every_n_train_steps"] * step)
        print(f"{name}: a look {look:.2f} s, a step {step:.3f} s: {look / step:.1f} steps, {share:.1%} of the time")


if __name__ == "__main__":
    started(main)
