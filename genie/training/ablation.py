"""Ablations: variants of a world, trained and evaluated one after the other and compared in a table.

A training is identified by what determines its weights: the name of its folder is a hash of it. A stage that is the
same in two variants, or in two ablations, is trained once, and one that was changed in any way is another training.
The table is written as markdown, as CSV and, with all values behind it, as JSON.
"""

import csv
import hashlib
import json
import shlex
import signal
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from genie.common.cli import resolved
from genie.common.config_errors import group_options
from genie.common.errors import RunError, UserError
from genie.common.files import replacing
from genie.common.folder_lock import one_writer
from genie.common.overrides import check_step, override
from genie.common.tables import print_table
from genie.datasets.record import record_missing
from genie.evaluation.provenance import evaluated, newer_than_checkpoints
from genie.runs.folder import MODEL_KEYS, RunFolder
from genie.stages import new_stage, stage_type
from genie.training.measured import read_cost
from genie.training.pipeline import run_module, training_command

WORLD = "dynamics"  # the stage that a variant ends with
# what determines the weights beside the model: not the names of folders, loggers and progress bars
SETTINGS = ("stage", "data", "trainer", "optimizer", "schedule", "seed")
# exit codes of a command that was asked to stop
STOPPED = [128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
OWN_KEYS = ("ablation", "seeds", "seed", "stage", "resume", "overwrite", "run_dir")  # decided here for each stage
NOT_MEASURED = "–"


@dataclass(frozen=True)
class TrainingJob:
    """One training: `overrides` of genie.train (without resume or overwrite), and the configuration they give."""

    stage: str
    overrides: tuple[str, ...]
    config: dict[str, Any]

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.config)


@dataclass(frozen=True)
class AblationWorld:
    """One variant with one seed: its trainings in order, by stage."""

    variant: str
    seed: int
    jobs: dict[str, TrainingJob]

    @property
    def path(self) -> Path:
        """The run folder that generate, play and evaluate take."""
        return self.jobs[WORLD].folder.path.parent


class Ablation:
    """The variants of a resolved configuration `ablate` and the `overrides` that it was composed with. UserError where
    there is nothing to compare."""

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
        self.done: set[Path] = set()  # what this command has trained, which is not done again

    def run(self) -> dict[str, Any]:
        """Trains and measures all worlds; the tables are written after each. Returns what ablation.json holds.

        A world that fails is reported under `failed`, without metrics; a failure of the first command ends all.
        """
        with one_writer(self.folder, "ablation.name= or output_dir="):
            return self._run()

    def _run(self) -> dict[str, Any]:
        record_missing(self.config["data"])
        measured: list[tuple[AblationWorld, dict[str, float | None]]] = []
        failed: dict[str, str] = {}
        for number, world in enumerate(self.worlds, 1):
            print(f"[{number}/{len(self.worlds)}] {world.variant}, seed {world.seed}", flush=True)
            if reason := self.make(world, first=number == 1):
                failed[f"{world.variant}, seed {world.seed}"] = reason
                print(f"  not measured: {reason}", flush=True)
            unknown = bool(reason) and not is_evaluated(world)  # a part of an evaluation may fail, and others not
            metrics = metrics_of(world, self.settings["compares"], self.settings["columns"], unknown)
            measured.append((world, metrics))
            report = {
                "title": self.settings["title"], "command": self.shown, "variants": summary(measured), "failed": failed
            }  # fmt: skip
            write_tables(self.folder, report)
        return report

    def make(self, world: AblationWorld, first: bool) -> str | None:
        """Trains and evaluates a world; returns why that failed, None where it did not."""
        step = None
        try:
            for job in world.jobs.values():
                step = job.stage
                self.train(job)
            step = "evaluate"
            self.evaluate(world)
        except SystemExit as end:  # of a command, which has reported what is wrong
            if end.code in STOPPED or first and step == next(iter(world.jobs)):
                raise
            return f"{step} ended with exit code {end.code}"
        return None

    def train(self, job: TrainingJob) -> None:
        folder, cost = job.folder, job.folder.path / "cost.json"
        anew = self.config["overwrite"] and folder.path not in self.done
        self.done.add(folder.path)
        command = training_command(folder, job.overrides, anew)
        if command is None:
            print(f"  {job.stage}: done before, in {folder.path}", flush=True)
            return
        if anew:
            cost.unlink(missing_ok=True)
        self.command(job.stage, cost, command)

    def evaluate(self, world: AblationWorld) -> None:
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
        run_module(step, ["genie.training.measured", str(cost), *command])


def ablate(config: dict[str, Any], overrides: list[str]) -> None:
    """Runs an ablation and prints its table. Raises RunError at the end for worlds that failed."""
    ablation = Ablation(config, overrides)
    report = ablation.run()
    print_table(rich_table(report))
    print(f"table.md, table.csv and ablation.json: {ablation.folder}")
    if failed := report["failed"]:
        reasons = "; ".join(f"{world} ({reason})" for world, reason in failed.items())
        raise RunError(f"not measured: {reasons}; the same command goes on from there")


def own_key(word: str) -> str:
    """The top-level key of an override: "++ablation.name=x" -> "ablation"."""
    return word.lstrip("+~").split("=")[0].split(".")[0].split("@")[0]


def plan_world(variant: str, seed: int, overrides: list[str], root: Path) -> AblationWorld:
    """The trainings below `root` of the variant that `overrides` of genie.train describe."""
    jobs: dict[str, TrainingJob] = {}
    plan_stage(WORLD, [*overrides, f"seed={seed}"], root, jobs)
    return AblationWorld(variant, seed, jobs)


def plan_stage(stage: str, overrides: list[str], root: Path, jobs: dict[str, TrainingJob]) -> None:
    """Puts the training of `stage` into `jobs`, after those of the stages that it needs."""
    given, config = [f"stage={stage}"], resolved("train", [*overrides, f"stage={stage}"])
    needed = stage_type(config).needs(config)
    for part in needed:
        if part not in jobs:
            plan_stage(part, overrides, root, jobs)
        config[f"{part}_ckpt"] = str(jobs[part].folder.last)
        given.append(override(f"{part}_ckpt", jobs[part].folder.last))
    name = identity(config, needed)
    config["run_dir"] = str(root / "worlds" / name / stage if stage == WORLD else root / stage / name)
    given.append(override("run_dir", config["run_dir"]))
    jobs[stage] = TrainingJob(stage, (*overrides, *given), config)


def identity(config: dict[str, Any], needed: tuple[str, ...]) -> str:
    """Eight letters of a hash of settings, model and needed checkpoints, the same for the same weights."""
    group = "model."
    parts = {key.removeprefix(group) for key in MODEL_KEYS[config["stage"]["name"]] if key.startswith(group)}
    parts.update(part for part in needed if part == "tokenizer")
    decides = {name: config[name] for name in SETTINGS}
    decides["ema"] = config["callbacks"]["ema"] if config["ema"] else None
    decides["model"] = {name: config["model"][name] for name in parts}
    decides["checkpoints"] = [config[f"{part}_ckpt"] for part in needed]
    return hashlib.blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=4).hexdigest()


def report_of(world: AblationWorld) -> Path:
    return world.path / "evaluation" / "evaluation.json"


def is_evaluated(world: AblationWorld) -> bool:
    report, trained = report_of(world), world.jobs[WORLD].folder.last
    return report.exists() and trained.exists() and report.stat().st_mtime >= trained.stat().st_mtime


def metrics_of(
    world: AblationWorld, compares: str, columns: dict[str, str], failed: bool = False
) -> dict[str, float | None]:
    """The metrics of one trained and evaluated world, None for what was not measured; all of a world that has `failed`.

    Parameters and peak memory are those of the stage `compares`, minutes those of all its stages together. `columns`:
    {heading: path in evaluation.json}, as in {"FVD": "fvd.value"}.
    """
    if failed:
        return dict.fromkeys(("parameters (M)", "peak memory (MB)", *columns, "minutes"))
    costs = {stage: read_cost(job.folder.path / "cost.json") for stage, job in world.jobs.items()}
    seconds = [cost["seconds"] for cost in costs.values() if cost]
    report = evaluated(report_of(world))
    return {
        "parameters (M)": num_parameters(world.jobs[compares].config) / 1e6,
        "peak memory (MB)": costs[compares].get("peak_mb"),
        **{heading: report.get(path) for heading, path in columns.items()},
        "minutes": sum(seconds) / 60 if len(seconds) == len(costs) else None,
    }


def num_parameters(config: dict[str, Any]) -> int:
    """Parameters of all parts that a training of this configuration trains."""
    with torch.device("meta"):
        stage = new_stage(config)
    return sum(parameter.numel() for part in stage.parts().values() for parameter in part.parameters())


def summary(measured: list[tuple[AblationWorld, dict[str, float | None]]]) -> dict[str, Any]:
    """By variant: the folders of its `worlds` by seed, and under `figures` of every metric the `values`, and their
    `mean` and standard deviation (`spread`, None for one seed) over seeds, without a mean where one seed lacks it."""
    variants: dict[str, Any] = {}
    for world, metrics in measured:
        entry = variants.setdefault(world.variant, {"worlds": {}, "figures": {}})
        entry["worlds"][str(world.seed)] = str(world.path)
        for heading, value in metrics.items():
            entry["figures"].setdefault(heading, {"values": []})["values"].append(value)
    for entry in variants.values():
        for figure in entry["figures"].values():
            values = figure["values"]
            known = None not in values
            figure["mean"] = statistics.fmean(values) if known else None
            figure["spread"] = statistics.stdev(values) if known and len(values) > 1 else None
    return variants


def write_tables(folder: Path, report: dict[str, Any]) -> None:
    """Writes table.md, table.csv and ablation.json of `report`: `title`, `command` and `variants` (see `summary`)."""
    with replacing(folder / "ablation.json", "w") as file:
        file.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    with replacing(folder / "table.md", "w") as file:
        file.write(markdown(report))
    with replacing(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows(plain_rows(report))


def rich_table(report: dict[str, Any]) -> Table:
    """For the terminal: a row for each metric, a column for each variant, so that it fits."""
    variants = report["variants"]
    table = Table(title=Text(report["title"]), title_justify="left")
    table.add_column("")
    for variant in variants:
        table.add_column(Text(variant), justify="right")
    for heading in headings(report):
        cells = [shown(entry["figures"][heading]) for entry in variants.values()]
        table.add_row(Text(heading), *map(Text, cells))
    return table


def markdown(report: dict[str, Any]) -> str:
    """A row for each variant, as in the paper's tables."""
    names = headings(report)
    rows = [
        [variant, *(shown(entry["figures"][name]) for name in names)] for variant, entry in report["variants"].items()
    ]
    lines = ["| " + " | ".join(row) + " |" for row in ([""] + names, ["---"] + ["---:"] * len(names), *rows)]
    notes = []
    if any(len(entry["worlds"]) > 1 for entry in report["variants"].values()):
        notes.append("Mean ± standard deviation over seeds.")
    if any(NOT_MEASURED in row for row in rows):
        notes.append(f"{NOT_MEASURED}: not measured.")
    return "\n\n".join([f"# {report['title']}", "\n".join(lines), *notes, f"    {report['command']}"]) + "\n"


def plain_rows(report: dict[str, Any]) -> list[list[Any]]:
    """The rows of the CSV, with a column for the mean and one for the spread of every metric; empty: not measured."""
    names = headings(report)
    rows: list[list[Any]] = [["variant", "seeds", *(column for name in names for column in (name, f"{name}, spread"))]]
    for variant, entry in report["variants"].items():
        figures = [entry["figures"][name] for name in names]
        values = [figure[kind] for figure in figures for kind in ("mean", "spread")]
        rows.append([variant, " ".join(entry["worlds"]), *("" if value is None else value for value in values)])
    return rows


def headings(report: dict[str, Any]) -> list[str]:
    """The names of the metrics, the same for all variants."""
    return list(next(iter(report["variants"].values()))["figures"])


def shown(figure: dict[str, Any]) -> str:
    """ "4.812 ± 0.3": four digits, and two of the spread."""
    if figure["mean"] is None:
        return NOT_MEASURED
    spread = "" if figure["spread"] is None else f" ± {digits(figure['spread'], 2)}"
    return digits(figure["mean"], 4) + spread


def digits(value: float, count: int) -> str:
    """That many significant digits, but whole numbers in full and never an exponent."""
    decimals = count - len(str(int(abs(value)))) if abs(value) >= 1 else count - 1
    return f"{value:.{max(0, decimals)}f}"
