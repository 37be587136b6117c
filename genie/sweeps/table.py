"""All jobs of a sweep as sweep.csv, a row for each, and as the table that is printed at the end."""

import csv
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from genie.common.errors import UserError
from genie.common.files import read_json, replacing
from genie.common.folder_lock import one_writer
from genie.common.process import rank
from genie.metrics.directions import direction

if TYPE_CHECKING:
    from rich.table import Table

RECORD = "job.json"
BEFORE = ("job", "status", "objective", "value", "steps", "seconds")  # columns before those of the overrides
AFTER = ("error", "folder")
KEYS = {*BEFORE, *AFTER, "overrides"}  # of a record


class SweepTable(Callback):
    """Keeps others out of the folder of a sweep, and prints the table when all its jobs are done."""

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
        from genie.common.tables import print_table  # every command looks at Hydra's plugins, and few print tables

        self.writing.close()
        folder = Path(config.hydra.sweep.dir)
        records = read_records(folder)
        if records:
            print_table(results_table(records, folder))


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
    """The keys in which the jobs differ: what the sweep is about."""
    return [name for name in override_names(records) if len({row["overrides"].get(name) for row in records}) > 1]


def best(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The completed job with the best value, None where there is none or better is not known."""
    done = [record for record in records if record["status"] == "completed"]
    mode = direction(records[0]["objective"])
    if not done or mode is None:
        return None
    return {"min": min, "max": max}[mode](done, key=lambda record: record["value"])


def results_table(records: list[dict[str, Any]], folder: Path) -> "Table":
    """Jobs, what they differ in and what came out; the best one is bold and starred."""
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
