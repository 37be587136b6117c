"""Reading of metrics.csv and run.json, separate from the writers because it needs no Lightning."""

import csv
from pathlib import Path
from typing import Any

from genie.common.files import read_json


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv without empty cells (`step`, `epoch`: int); [] where there is no file."""
    if not Path(path).exists():
        return []
    whole = Path(path).read_text().rpartition("\n")[0]  # a killed run may leave half a line
    rows = [row for row in csv.DictReader(whole.split("\n")) if None not in row.values()]
    kinds = {"step": int, "epoch": int}
    return [{name: kinds.get(name, float)(value) for name, value in row.items() if value != ""} for row in rows]


def last_values(path: Path) -> dict[str, float]:
    """The newest value of every metric in a metrics.csv."""
    values: dict[str, float] = {}
    for row in read_metrics(path):
        values |= row
    return values


def read_record(path: Path) -> dict[str, Any]:
    """The contents of a run.json; {} where it is missing or damaged."""
    return read_json(path) or {}
