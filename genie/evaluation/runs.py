"""One evaluation, or several that are compared: what `run=` and `reuse=` of the command mean."""

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genie.common.device import choose_device
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.evaluation.provenance import still_holds
from genie.evaluation.run import check, evaluate
from genie.evaluation.subject import Subject


@dataclass(frozen=True)
class Evaluated:
    """`values` of an evaluation.json in `folder`, of the run with the folder `run`, which is called `name`."""

    name: str
    run: Path
    folder: Path
    values: dict[str, Any]


def evaluate_runs(config: dict[str, Any]) -> list[Evaluated]:
    """Evaluates config["run"], one folder or several, in this order; with `reuse`, only what is out of date.

    Raises UserError for a value that cannot be and for a run that holds nothing, before any work.
    """
    given = config["run"]
    runs = [str(run) for run in given] if isinstance(given, list) else [str(given)]
    names = labels(runs)
    check(config)
    for run in runs:
        Subject(run, choose_device(config["device"]), config, config["world"])
    folders = [
        Path(_output(config["output"], name, len(runs)) or Path(run) / "evaluation")
        for name, run in zip(names, runs, strict=True)
    ]
    with ExitStack() as writing:
        for folder in dict.fromkeys(folders):
            writing.enter_context(one_writer(folder, "output="))
        return _evaluate_into(folders, names, runs, config)


def _evaluate_into(folders: list[Path], names: list[str], runs: list[str], config: dict[str, Any]) -> list[Evaluated]:
    evaluated = []
    for name, run, folder in zip(names, runs, folders, strict=True):
        one = {**config, "run": run, "output": _output(config["output"], name, len(runs))}
        known = folder / "evaluation.json"
        if config["reuse"] and still_holds(known, one):
            print(f"{run}: taken from {known}")
            values = json.loads(known.read_text())
        else:
            if len(runs) > 1:
                print(run)
            values, folder = evaluate(one)
        evaluated.append(Evaluated(name, Path(run), folder, values))
    return evaluated


def report_folder(config: dict[str, Any], evaluated: list[Evaluated]) -> Path:
    """Where the report goes: beside evaluation.json, or of a comparison into a folder of its own."""
    if len(evaluated) == 1:
        return evaluated[0].folder
    return Path(config["output"] or evaluated[0].run.parent / "comparison")


def labels(runs: list[str]) -> list[str]:
    """The shortest ends of the paths by which they differ. Raises UserError for no path and for one given twice."""
    paths = [Path(os.path.abspath(run)).parts for run in runs]
    if not runs or len(set(paths)) < len(paths):
        raise UserError(f"run=[{','.join(runs)}]: give one folder outputs/<name>, or several that differ")
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(parts[-length:]) for parts in paths]
        if len(set(ends)) == len(ends):
            return ends
    raise AssertionError("paths that differ have ends that differ")


def _output(output: str | None, name: str, count: int) -> str | None:
    return output if output is None or count == 1 else str(Path(output) / name.replace("/", "_"))
