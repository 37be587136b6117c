"""Jobs of a sweep: their records, sweep.csv, the table at the end and sweep.png.

<sweep folder>/<n>/job.json is the record of a job: it exists while the job runs and after it was killed. Every command
imports this module with Hydra's plugins, so matplotlib and rich are imported where they are used.
"""

import csv
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from genie.common.cli import one_line
from genie.common.errors import UserError
from genie.common.files import read_json, replacing
from genie.common.folder_lock import one_writer
from genie.common.overrides import unquoted
from genie.common.process import rank
from genie.evaluation.catalogue import direction
from genie.runs.metrics_file import last_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

HOW_TO_START = (
    "resume=true goes on with its jobs, hydra.sweep.dir=... takes another folder, overwrite=true deletes them"
)
OF_THE_START = ("resume", "overwrite")  # determine how a job starts, not what it is
RECORD = "job.json"
BEFORE = ("job", "status", "objective", "value", "steps", "seconds")  # columns before those of the overrides
AFTER = ("error", "folder")
KEYS = {*BEFORE, *AFTER, "overrides"}  # of a record
NUM_COLUMNS = 3  # of the plot
LOG_SCALE_RATIO = 20  # a wider range is unreadable on a linear axis


class SweepTable(Callback):
    """Keeps other sweeps out of the folder of a sweep, and prints the table when all its jobs are done."""

    def __init__(self) -> None:
        self.writing = ExitStack()

    def __reduce__(self) -> tuple:
        """A job that a cluster runs gets a copy, without the lock."""
        return SweepTable, ()

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if rank():
            return
        try:
            self.writing.enter_context(one_writer(config.hydra.sweep.dir, "hydra.sweep.dir="))
        except UserError as error:  # Hydra makes a warning of what a callback raises
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if rank():
            return
        from genie.common.tables import print_table

        self.writing.close()
        folder = Path(config.hydra.sweep.dir)
        records = read_records(folder)
        if records:
            print_table(results_table(records, folder))


@contextmanager
def recorded_job(config: dict[str, Any], hydra: DictConfig) -> Iterator[dict[str, Any]]:
    """Writes the record of a job, and the sweep's table, while the body runs; the body sets `record["value"]`. Of
    several processes the first writes. Raises `UserError` where the folder holds another job.

    `config["run_dir"]` becomes <sweep folder>/<n>/<stage>, unless the user gave one: the jobs share name and stage.
    """
    if rank():
        yield {"job": hydra.job.num}
        return
    sweep = Path(hydra.sweep.dir)
    folder = sweep / hydra.sweep.subdir
    pairs = [override.split("=", 1) for override in hydra.overrides.task if "=" in override]
    overrides = {name: unquoted(value) for name, value in pairs}
    if "run_dir" not in overrides:
        config["run_dir"] = str(folder / config["stage"]["name"])
    overrides = {name: value for name, value in overrides.items() if name not in OF_THE_START}
    former = former_record(folder, overrides, config)
    record = {
        "job": hydra.job.num,
        "status": "running",
        "objective": config["objective"],
        "value": None,
        "steps": None,
        "seconds": former.get("seconds", 0),  # of all starts
        "error": None,
        "overrides": overrides,
        "folder": config["run_dir"],
    }
    metrics, started = Path(config["run_dir"]) / "metrics.csv", time.monotonic()

    def save(status: str, error: BaseException | None = None) -> None:
        record["status"], record["error"] = status, one_line(error) if error else None
        record["steps"] = last_values(metrics).get("step")
        written = record | {"seconds": round(record["seconds"] + time.monotonic() - started, 1)}
        with replacing(folder / RECORD, "w") as file:
            json.dump(written, file, indent=2)
        records = write_table(sweep)
        if status == "completed":
            plot_sweep(records, varied(records), sweep / "sweep.png")

    save("running")
    try:
        yield record
        if record["value"] is None:
            logged = ", ".join(last_values(metrics))
            raise UserError(f"objective={config['objective']} was never logged; there is: {logged}")
    except Exception as error:
        save("failed", error)
        raise
    except BaseException as error:  # Ctrl-C, or a signal that asked to stop
        save("stopped", error)
        raise
    save("completed" if math.isfinite(record["value"]) else "diverged")


def former_record(folder: Path, overrides: dict[str, str], config: dict[str, Any]) -> dict[str, Any]:
    """The record of the job to resume, {} for a new one; UserError where resuming is not allowed or the job differs."""
    path = folder / RECORD
    if config["overwrite"] or not path.exists():
        return {}
    former = read_json(path) or {}
    if not config["resume"]:
        raise UserError(f"{folder.parent} holds a sweep already: {HOW_TO_START}")
    for name, value in former.get("overrides", {}).items():
        if overrides.get(name) != unquoted(value):
            raise UserError(
                f"{folder} holds the job with {name}={value}, not {name}={overrides.get(name)}: "
                "give the command that the sweep was started with, or another hydra.sweep.dir=..."
            )
    return former


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of the jobs in a sweep's folder, in the order of their numbers; damaged ones are left out."""
    records = [read_json(path) for path in folder.glob(f"*/{RECORD}")]
    whole = [record for record in records if record is not None and record.keys() >= KEYS]
    return sorted(whole, key=lambda row: row["job"])


def write_table(folder: Path) -> list[dict[str, Any]]:
    """Writes sweep.csv of the jobs so far, whole or not at all; returns their records."""
    records = read_records(folder)
    names = override_names(records)
    with replacing(folder / "sweep.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*BEFORE, *names, *AFTER])
        for record in records:
            writer.writerow([*map(record.get, BEFORE), *map(record["overrides"].get, names), *map(record.get, AFTER)])
    return records


def override_names(records: list[dict[str, Any]]) -> list[str]:
    """The keys that the jobs were given, but for the objective, which has a column of its own."""
    return list(dict.fromkeys(name for record in records for name in record["overrides"] if name != "objective"))


def varied(records: list[dict[str, Any]]) -> list[str]:
    return [name for name in override_names(records) if len({row["overrides"].get(name) for row in records}) > 1]


def best(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The completed job with the best value, None where there is none or the objective has no known direction."""
    done = [record for record in records if record["status"] == "completed"]
    mode = direction(records[0]["objective"])
    if not done or mode is None:
        return None
    return {"min": min, "max": max}[mode](done, key=lambda record: record["value"])


def results_table(records: list[dict[str, Any]], folder: Path) -> "Table":
    """Jobs, the keys in which they differ and their results; the best one is bold and starred."""
    from rich.table import Table

    names, winner = varied(records), best(records)
    table = Table(title=f"{folder}/sweep.csv, sweep.png", title_justify="left")
    for name in ("job", *names, records[0]["objective"], "steps", "seconds", "status"):
        table.add_column(name)
    for record in records:
        value = "-" if record["value"] is None else f"{record['value']:.5g}" + (" *" if record is winner else "")
        given = [short(record["overrides"].get(name, "")) for name in names]
        row = [record["job"], *given, value, record["steps"], record["seconds"], record["status"]]
        table.add_row(*map(str, row), style="bold" if record is winner else None)
    return table


def short(text: str) -> str:
    """0.00042903942964103123 -> 0.000429; anything but a long number as it is."""
    try:
        return f"{float(text):.3g}" if len(text) > 8 else text
    except ValueError:
        return text


def plot_sweep(records: list[dict[str, Any]], names: list[str], picture: Path) -> None:
    """Draws the objective of the completed jobs against each of `names` into a PNG, where there are any."""
    from matplotlib.figure import Figure

    done = [record for record in records if record["status"] == "completed"]
    if not done or not names:
        return
    num_rows, columns = math.ceil(len(names) / NUM_COLUMNS), min(len(names), NUM_COLUMNS)
    figure = Figure(figsize=(5 * columns, 3.6 * num_rows), layout="constrained")
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(num_rows, columns, number)
        draw(axes, [record["overrides"].get(name, "") for record in done], [record["value"] for record in done])
        axes.set(xlabel=name, ylabel=done[0]["objective"])
        axes.grid(alpha=0.3)
    with replacing(picture) as file:
        figure.savefig(file, format="png", dpi=110)


def draw(axes: "Axes", given: list[str], values: list[float]) -> None:
    """Points over the values of one key: numbers at their place, anything else side by side."""
    from genie.common.plots import whole_ticks

    try:
        places = [float(text) for text in given]
    except ValueError:
        choices = sorted(set(given))
        places = [choices.index(text) for text in given]
        axes.set_xticks(range(len(choices)), choices, rotation=30 if len(choices) > 4 else 0)
    else:
        if min(places) > 0 and max(places) > LOG_SCALE_RATIO * min(places):
            axes.set_xscale("log")
        elif all(place.is_integer() for place in places):  # a seed, a number of layers
            whole_ticks(axes)
    axes.plot(places, values, "o", color="tab:blue", alpha=0.7)
