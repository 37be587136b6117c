"""Trains and measures the variants of an ablation, one after the other; what is there already is not done again."""

import shlex
import signal
from pathlib import Path
from typing import Any

from genie.ablation.figures import figures_of, summary
from genie.ablation.measured import read_cost
from genie.ablation.plan import WORLD, Job, World, plan_world
from genie.ablation.table import write_tables
from genie.common.config_errors import group_options
from genie.common.config_types import check_step
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.overrides import override
from genie.datasets.record import record_missing
from genie.evaluation.provenance import newer_than_checkpoints
from genie.pipeline import run_module

# exit codes of a command that was asked to stop
STOPPED = [128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
OWN_KEYS = ("ablation", "seeds", "seed", "stage", "resume", "overwrite", "run_dir")  # decided here for each stage


class Ablation:
    """The variants of a resolved configuration `ablate`, and the overrides that it was composed with.

    Raises UserError where there is nothing to compare.
    """

    def __init__(self, config: dict[str, Any], overrides: list[str]):
        self.config, self.settings = config, config.get("ablation", {})
        if not self.settings.get("variants"):
            choices = ", ".join(name for name in group_options("experiment") if name.startswith("ablation_"))
            raise UserError(f"there are no ablation.variants to compare: give one of experiment={choices}")
        if not config["seeds"]:
            raise UserError("seeds=[] gives nothing to train: give seeds=[0]")
        check_step("ablation.evaluate", "evaluate", self.settings["evaluate"])
        self.root = Path(config["output_dir"]) / "ablations"
        self.folder = self.root / "results" / self.settings["name"]
        self.shown = shlex.join(["python", "-m", "genie.ablate", *overrides])
        given = [word for word in overrides if own_key(word) not in OWN_KEYS]
        self.worlds = [
            plan_world(variant, seed, [*given, *changes], self.root)
            for variant, changes in self.settings["variants"].items()
            for seed in config["seeds"]
        ]
        if self.settings["compares"] not in self.worlds[0].jobs:
            stages = ", ".join(self.worlds[0].jobs)
            raise UserError(f"ablation.compares={self.settings['compares']}: give one of the stages {stages}")
        self.done: set[Path] = set()  # what was trained by this command: no reason to do it again

    def run(self) -> dict[str, Any]:
        """Trains and measures all worlds; the tables are written after each. Returns what ablation.json holds.

        A world that fails has no figures, is said under `failed` of the report, and the others are made. An error of
        the first command is one of all.
        """
        with one_writer(self.folder, "ablation.name= or output_dir="):
            return self._measured()

    def _measured(self) -> dict[str, Any]:
        record_missing(self.config["data"])
        measured: list[tuple[World, dict[str, float | None]]] = []
        failed: dict[str, str] = {}
        for number, world in enumerate(self.worlds, 1):
            print(f"[{number}/{len(self.worlds)}] {world.variant}, seed {world.seed}", flush=True)
            if reason := self.make(world, first=number == 1):
                failed[f"{world.variant}, seed {world.seed}"] = reason
                print(f"  not measured: {reason}", flush=True)
            unknown = bool(reason) and not is_evaluated(world)  # a part of an evaluation may fail, and others not
            figures = figures_of(world, self.settings["compares"], self.settings["columns"], unknown)
            measured.append((world, figures))
            report = {
                "title": self.settings["title"], "command": self.shown, "variants": summary(measured), "failed": failed
            }  # fmt: skip
            write_tables(self.folder, report)
        return report

    def make(self, world: World, first: bool) -> str | None:
        """Trains and evaluates a world; returns why that failed, None where it did not."""
        step = None
        try:
            for job in world.jobs.values():
                step = job.stage
                self.train(job)
            step = "evaluate"
            self.evaluate(world)
        except SystemExit as end:  # of a command, which has said what is wrong
            if end.code in STOPPED or first and step == next(iter(world.jobs)):
                raise
            return f"{step} ended with exit code {end.code}"
        return None

    def train(self, job: Job) -> None:
        """Trains a stage, unless it is complete."""
        folder, cost = job.folder, job.folder.path / "cost.json"
        anew = self.config["overwrite"] and folder.path not in self.done
        self.done.add(folder.path)
        if not anew and folder.is_complete():
            print(f"  {job.stage}: done before, in {folder.path}", flush=True)
            return
        if anew:
            cost.unlink(missing_ok=True)
        self.command(job.stage, cost, ["genie.train", *job.overrides, "overwrite=true" if anew else "resume=true"])

    def evaluate(self, world: World) -> None:
        """Measures a world, unless it was measured in the same way since it was trained."""
        report, cost = report_of(world), world.path / "evaluation" / "cost.json"
        command = ["genie.evaluate", override("run", world.path), *self.settings["evaluate"]]
        same = is_evaluated(world) and read_cost(cost).get("command") == command
        if same and newer_than_checkpoints(report, world.path):
            print(f"  evaluate: done before, in {report.parent}", flush=True)
            return
        cost.unlink(missing_ok=True)
        self.command("evaluate", cost, command)

    @staticmethod
    def command(step: str, cost: Path, command: list[str]) -> None:
        """`python -m <command>` in a process of its own, with its cost noted."""
        run_module(step, ["genie.ablation.measured", str(cost), *command])


def report_of(world: World) -> Path:
    """Where the figures of a world are."""
    return world.path / "evaluation" / "evaluation.json"


def is_evaluated(world: World) -> bool:
    """Whether it was evaluated since it was trained."""
    report, trained = report_of(world), world.jobs[WORLD].folder.last
    return report.exists() and trained.exists() and report.stat().st_mtime >= trained.stat().st_mtime


def own_key(word: str) -> str:
    """The top-level key of an override: "++ablation.name=x" -> "ablation"."""
    return word.lstrip("+~").split("=")[0].split(".")[0].split("@")[0]
