"""Pipeline: record, train the stages, evaluate.

A world from nothing: `python -m genie.pipeline experiment=pong` records, trains the stages, evaluates.

Each stage is the command that a user would give, in a process of its own: `python -m genie.train stage=...
resume=true` with the overrides of the pipeline. What is complete is skipped and what was interrupted goes on,
so the same command can be given again after any stop.
"""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from hydra import compose
from rich.table import Table

from genie.common.cli import to_plain
from genie.common.config_types import check_step
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.overrides import override
from genie.datasets.record import missing_splits, record_missing
from genie.evaluation.provenance import evaluated, newer_than_checkpoints
from genie.runs.metrics_file import last_values

STAGES = ("tokenizer", "lam", "dynamics", "cotrain", "reward")
STEPS = ("record", *STAGES, "evaluate")
# keys of its own, and what it decides for each stage itself
OWN_KEYS = ("steps=", "evaluate=", "figures=", "stage=", "resume=", "overwrite=")


class Pipeline:
    """The steps of one world, from the resolved configuration and the overrides it was composed with."""

    def __init__(self, config: dict[str, Any], overrides: list[str]):
        self.config = config
        self.overrides = [word for word in overrides if not word.startswith(OWN_KEYS)]
        unknown = [step for step in config["steps"] if step not in STEPS]
        if unknown:
            raise UserError(f"steps={config['steps']}: there is no step {unknown[0]}; there is: {', '.join(STEPS)}")
        check_step("evaluate", "evaluate", config["evaluate"])
        if config["launcher"]["name"] == "torchrun":
            raise UserError(
                "launcher=torchrun is for python -m genie.train: a pipeline starts its stages one by one itself"
            )
        self.world = Path(config["output_dir"]) / config["name"]
        self.results: list[tuple[str, str, str]] = []  # step, time, figures

    def run(self) -> None:
        """Takes the steps in order. Raises `SystemExit` with the exit code of the first one that fails."""
        with one_writer(self.world, "name= or output_dir="):
            self._take_steps()

    def _take_steps(self) -> None:
        for number, step in enumerate(self.config["steps"], 1):
            heading = f"[{number}/{len(self.config['steps'])}] {step}"
            action, figures = self._plan(step)
            started = time.monotonic()
            if action is None:
                print(f"{heading}: done before", flush=True)
            else:
                print(f"{heading}", flush=True)
                action()
            minutes = "before" if action is None else f"{(time.monotonic() - started) / 60:.1f}"
            self.results.append((step, minutes, figures()))

    def _plan(self, step: str) -> tuple[Callable[[], None] | None, Callable[[], str]]:
        """What has to be done for a step, None for nothing, and how to say what came out."""
        if step == "record":
            return self._plan_recording()
        if step == "evaluate":
            return self._plan_evaluation()
        return self._plan_stage(step)

    def _plan_recording(self) -> tuple[Callable[[], None] | None, Callable[[], str]]:
        data = self.config["data"]
        return (lambda: record_missing(data)) if missing_splits(data) else None, lambda: data["root"]

    def _plan_stage(self, stage: str) -> tuple[Callable[[], None] | None, Callable[[], str]]:
        from genie.runs.folder import RunFolder

        overrides = [*self.overrides, f"stage={stage}"]
        folder = RunFolder(to_plain(compose("train", overrides)))
        start = "overwrite=true" if self.config["overwrite"] else "resume=true"
        done = not self.config["overwrite"] and folder.is_complete()
        action = None if done else lambda: run_module(stage, ["genie.train", *overrides, start])
        return action, lambda: shown(last_values(folder.metrics), self.config["figures"])

    def _plan_evaluation(self) -> tuple[Callable[[], None] | None, Callable[[], str]]:
        report = self.world / "evaluation" / "evaluation.json"
        done = newer_than_checkpoints(report, self.world)
        command = ["genie.evaluate", override("run", self.world), *self.config["evaluate"]]
        return None if done else lambda: run_module("evaluate", command), lambda: shown(
            evaluated(report), self.config["figures"]
        )

    def summary(self) -> Table:
        """Time and figures of every step."""
        table = Table(title=f"{self.world}", title_justify="left")
        for name in ("step", "minutes", "figures"):
            table.add_column(name)
        for row in self.results:
            table.add_row(*row)
        return table


def run_module(step: str, command: list[str]) -> None:
    """Runs `python -m <command>`, hands on the signals that ask to stop, and exits with its code if not 0."""
    child, early = None, []

    def hand_on(number: int, frame: FrameType | None) -> None:
        early.append(number) if child is None else child.send_signal(number)

    # Before the step starts: a signal that came in between would end the pipeline and leave the step behind.
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    former = {number: signal.signal(number, hand_on) for number in stops}
    try:
        child = subprocess.Popen([sys.executable, "-m", *command])
        for number in early:
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if code:
        code = 128 - code if code < 0 else code  # killed by a signal: as a shell reports it
        if code != 2:  # then the step has said in one line what is wrong
            message = f"error: step {step} ended with exit code {code}; the same command goes on from there"
            print(message, file=sys.stderr)
        sys.exit(code)


def shown(values: dict[str, float], names: list[str]) -> str:
    """The values whose names are asked for, in that order, on lines that a terminal has room for."""
    pairs = [f"{name.removeprefix('val/')}\xa0{values[name]:.4g}" for name in names if name in values]
    return textwrap.fill("  ".join(pairs), width=90, break_long_words=False).replace("\xa0", " ")
