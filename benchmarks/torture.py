"""Kills trainings with SIGKILL at random moments, in the middle of saves too, and says what was lost.

    python -m benchmarks.torture --runs 20       runs lost, curves that differ from that of a run that was left alone
    python -m benchmarks.torture --cost 1024     what saving and checking a checkpoint of so many MiB takes

Each run is of a random stage, with data.num_workers 0 or 2, and is killed up to four times: at a random time, or before
a random system call by which something is written (a checkpoint, best.ckpt, metrics.csv, run.json). Then it is resumed
until it is done; every time in a process of its own that has trained nothing before. All runs are of the debug model on
a small recording, and take the same settings: moving average of the weights, accumulation, validations in between.
"""

import argparse
import functools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the number of threads changes the last bits

STAGES = ("tokenizer", "lam", "dynamics", "cotrain")
SETTINGS = (
    "debug=fast",
    "ema=true",
    "trainer.max_steps=24",
    "trainer.val_check_interval=7",
    "callbacks.checkpoint.every_n_train_steps=3",
    "callbacks.rollouts.every_n_train_steps=0",
    "model.tokenizer.num_codes=16",
    "+model.tokenizer.revive_after=3",
    "data.batch_size=2",
    "trainer.accumulate=2",
)
WRITING = ("replace", "link", "fsync")  # of the module os
MOST_KILLS = 4
TIMEOUT = 600  # seconds, of a process


def configure(folder: Path, stage: str, name: str, *overrides: str) -> dict[str, Any]:
    """The configuration of a run of `stage` called `name` in `folder`, on the trained stages called `whole`."""
    from hydra import compose, initialize_config_module

    from genie.common.cli import to_plain

    whole = {part: folder / "whole" / part / "checkpoints" / "last.ckpt" for part in ("tokenizer", "lam")}
    with initialize_config_module("conf", version_base="1.3"):
        return to_plain(
            compose(
                "train",
                [
                    *SETTINGS,
                    f"stage={stage}",
                    f"name={name}",
                    f"output_dir={folder}",
                    *(f"{part}_ckpt={path}" for part, path in whole.items()),
                    *overrides,
                ],
            )
        )


# -- in a process of its own ------------------------------------------------------------------------------------------


def trained(config: dict[str, Any], log: Path, kill_before: int | None) -> None:
    """Trains; is killed before its `kill_before`-th call that writes, or half-way through such a write."""
    from callbacks import metrics_csv

    output = open(log, "a")  # noqa: SIM115  until the process ends
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    multiprocessing.set_start_method("fork", force=True)  # of the loader's workers, as in any training
    metrics_csv.plot_metrics = lambda *arguments: None  # most of the time of such a run, and no part of its state
    if kill_before is not None:
        count_down(kill_before)
    from genie.training.train import train

    train(config)


def count_down(calls: int) -> None:
    """Kills this process before so many more calls that write."""
    from callbacks import checkpoints

    left = iter(range(calls))

    def counted(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for name in WRITING:
        setattr(os, name, counted(getattr(os, name)))
    write = checkpoints.write

    def half(checkpoint: dict[str, Any], file: Any) -> None:
        write(checkpoint, file)
        if next(left, None) is None:
            file.truncate(file.tell() // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.write = half


class Processes:
    """Starts trainings in processes that are forked from one that has imported everything and done nothing."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["genie.training.train", "genie.evaluation.trained_run"])

    def start(self, config: dict[str, Any], log: Path, kill_before: int | None = None) -> multiprocessing.Process:
        process = self.context.Process(target=trained, args=(config, log, kill_before))
        process.start()
        return process

    def run(self, config: dict[str, Any], log: Path, kill_before: int | None = None, seconds: float = TIMEOUT) -> int:
        """The exit code of a training, that is killed after `seconds` where it is not done before."""
        process = self.start(config, log, kill_before)
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode


# -- what came out ----------------------------------------------------------------------------------------------------


def differences(ours: Path, theirs: Path) -> list[str]:
    """In what the folders of two finished runs differ: figures, weights, states of the optimiser."""
    from genie.runs.loading import read_checkpoint

    found = []
    if (ours / "metrics.csv").read_text() != (theirs / "metrics.csv").read_text():
        found.append("metrics.csv")
    for name in ("last.ckpt", "best.ckpt"):
        one, other = (read_checkpoint(folder / "checkpoints" / name) for folder in (ours, theirs))
        for key in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step"):
            if not same(one.get(key), other.get(key)):
                found.append(f"{key} of {name}")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two nested containers hold the same, tensors bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def torture(folder: Path, runs: int, seed: int) -> tuple[int, int]:
    """(runs lost, curves that differ) of `runs` runs."""
    processes, chance = Processes(), random.Random(seed)
    durations = {}
    for stage in STAGES:
        started = time.monotonic()
        if processes.run(configure(folder, stage, "whole", f"data.root={folder / 'data'}"), folder / "whole.log"):
            sys.exit(f"{stage} does not train: {(folder / 'whole.log').read_text()[-2000:]}")
        durations[stage] = time.monotonic() - started
    lost = different = 0
    for number in range(runs):
        stage, workers = chance.choice(STAGES), chance.choice((0, 2))
        name, log, kills = f"run{number}", folder / f"run{number}.log", []
        config = configure(
            folder, stage, name, f"data.root={folder / 'data'}", f"data.num_workers={workers}", "resume=true"
        )
        for _ in range(chance.randint(1, MOST_KILLS)):
            if chance.random() < 0.5:
                seconds, calls = chance.uniform(0.2, 1.1) * durations[stage], None
                kills.append(f"{seconds:.1f} s")
            else:
                seconds, calls = TIMEOUT, chance.randrange(80)
                kills.append(f"write {calls}")
            processes.run(config, log, calls, seconds)
        code = processes.run(config, log)
        wrong = differences(folder / name / stage, folder / "whole" / stage) if code == 0 else []
        lost, different = lost + (code != 0), different + bool(wrong)
        result = "lost: " + log.read_text()[-300:] if code else ", ".join(wrong) or "the same"
        print(f"{number + 1:3} {stage:9} workers {workers}, killed at {', '.join(kills)}: {result}", flush=True)
    return lost, different


def cost(folder: Path, mebibytes: int) -> None:
    """Prints what a checkpoint of so many MiB takes: weights and two moments, in 100 tensors each."""
    import torch

    from callbacks.checkpoints import AtomicCheckpointIO
    from genie.common.device import keep_freed_memory
    from genie.runs.checkpoint_store import keep_as_last, step_path, verify

    keep_freed_memory()
    tensors = {str(index): torch.rand(mebibytes * 2**20 // 4 // 300) for index in range(300)}
    path = step_path(folder, 1)

    def save() -> None:
        AtomicCheckpointIO().save_checkpoint({"global_step": 1, "state_dict": tensors}, path)
        keep_as_last(path, keep=2)

    for name, action in (
        ("saving (training waits for all of it)", save),
        ("checking its CRC-32s", lambda: verify(path)),
        ("torch.load", lambda: torch.load(path, weights_only=True)),
    ):
        started = time.perf_counter()
        action()
        seconds = time.perf_counter() - started
        size = path.stat().st_size / 2**20
        print(f"{name}: {seconds:.2f} s for {size:.0f} MiB, {seconds * 1024 / size:.2f} s per GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=0, help="runs to torture")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which they are killed")
    parser.add_argument("--cost", type=int, default=0, metavar="MIB", help="size of the checkpoint to time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.cost:
            cost(Path(folder), options.cost)
        if options.runs:
            lost, different = torture(Path(folder), options.runs, options.seed)
            print(f"{options.runs} runs: {lost} lost, {different} curves that differ")
            sys.exit(bool(lost or different))


if __name__ == "__main__":
    main()
