"""Pipeline of a world: recording, training of the stages, evaluation (`python -m genie.pipeline`).

Each stage is the command that a user would give, in a process of its own: `python -m genie.train stage=...
resume=true` with the overrides of the pipeline. What is complete is skipped and what was interrupted is resumed,
so the same command can be given again after any stop.
"""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rich.table import Table

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.overrides import check_step, override
from genie.common.program import as_started
from genie.common.tables import print_table
from genie.datasets.record import missing_splits, record_missing
from genie.evaluation.provenance import evaluated, newer_than_checkpoints
from genie.runs.folder import RunFolder
from genie.runs.metrics_file import last_values

# keys of its own, and what it decides for each stage itself
OWN_KEYS = ("steps=", "evaluate=", "figures=", "stage=", "resume=", "overwrite=")


def run_pipeline(config: dict[str, Any], overrides: list[str]) -> None:
    """Takes all steps and prints the table and where the results are."""
    pipeline = Pipeline(config, overrides)
    pipeline.run()
    print_table(pipeline.summary())
    report = pipeline.world / "evaluation" / "report.html"
    if report.exists():
        print(f"all that was measured, in one page: {report}")
    video = pipeline.world / "evaluation" / "action_grid.mp4"
    if video.exists():
        print(f"one row per action, from the same prompt: {video}")
        print(as_started(f"play it: python -m genie.play run={pipeline.world}"))


class Pipeline:
    """The steps of one world, from the resolved configuration and the overrides it was composed with."""

    def __init__(self, config: dict[str, Any], overrides: list[str]):
        self.config = config
        self.overrides = [word for word in overrides if not word.startswith(OWN_KEYS)]
        check_step("evaluate", "evaluate", config["evaluate"])
        if config["launcher"]["name"] == "torchrun":
            raise UserError(
                "launcher=torchrun is for python -m genie.train: a pipeline starts its stages one by one itself"
            )
        self.world = Path(config["output_dir"]) / config["name"]
        self.results: list[tuple[str, str, str]] = []  # step, time, metrics

    def run(self) -> None:
        """Takes the steps in order. Raises `SystemExit` with the exit code of the first one that fails."""
        with one_writer(self.world, "name= or output_dir="):
            for number, step in enumerate(self.config["steps"], 1):
                heading = f"[{number}/{len(self.config['steps'])}] {step}"
                action, metrics = self._plan(step)
                started = time.monotonic()
                if action is None:
                    print(f"{heading}: done before", flush=True)
                    minutes = "before"
                else:
                    print(f"{heading}", flush=True)
                    action()
                    minutes = f"{(time.monotonic() - started) / 60:.1f}"
                self.results.append((step, minutes, metrics()))

    def _plan(self, step: str) -> tuple[Callable[[], None] | None, Callable[[], str]]:
        """What has to be done for a step, None where it is done, and its metrics afterwards."""
        if step == "record":
            data = self.config["data"]
            return (lambda: record_missing(data)) if missing_splits(data) else None, lambda: data["root"]
        if step == "evaluate":
            report = self.world / "evaluation" / "evaluation.json"
            done = newer_than_checkpoints(report, self.world)
            command = None if done else ["genie.evaluate", override("run", self.world), *self.config["evaluate"]]
        else:
            overrides = [*self.overrides, f"stage={step}"]
            folder = RunFolder(resolved("train", overrides))
            command = training_command(folder, overrides, self.config["overwrite"])

        def metrics() -> str:
            values = evaluated(report) if step == "evaluate" else last_values(folder.metrics)
            return shown(values, self.config["figures"])

        return None if command is None else lambda: run_module(step, command), metrics

    def summary(self) -> Table:
        table = Table(title=f"{self.world}", title_justify="left")
        for name in ("step", "minutes", "figures"):
            table.add_column(name)
        for row in self.results:
            table.add_row(*row)
        return table


def training_command(folder: RunFolder, overrides: Sequence[str], anew: bool = False) -> list[str] | None:
    """The command of a training in `folder`, from the start (`anew`) or resumed, for `run_module`; None where the run
    is complete."""
    if not anew and folder.is_complete():
        return None
    return ["genie.train", *overrides, "overwrite=true" if anew else "resume=true"]


def run_module(step: str, command: list[str]) -> None:
    """Runs `python -m <command>`, forwards the signals that ask to stop, and exits with its code if not 0."""
    child, early = None, []

    def forward(number: int, frame: FrameType | None) -> None:
        early.append(number) if child is None else child.send_signal(number)

    # Before the step starts: a signal that came in between would end the pipeline and leave the step behind.
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    former = {number: signal.signal(number, forward) for number in stops}
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
        if code != 2:  # otherwise the step has reported in one line what is wrong
            message = f"error: step {step} ended with exit code {code}; the same command goes on from there"
            print(message, file=sys.stderr)
        sys.exit(code)


def shown(values: dict[str, float], names: list[str]) -> str:
    """The values of `names`, in that order, wrapped for a terminal."""
    pairs = [f"{name.removeprefix('val/')}\xa0{values[name]:.4g}" for name in names if name in values]
    return textwrap.fill("  ".join(pairs), width=90, break_long_words=False).replace("\xa0", " ")
