"""Reading metrics.csv; apart from the logger that writes it, because reading needs no Lightning."""

import csv
from pathlib import Path


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics.csv, with the values they have (`step`, `epoch`: int); [] where there is no file."""
    if not Path(path).exists():
        return []
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]  # a killed run may leave half a line
    return [{name: _number(name, value) for name, value in row.items() if value != ""} for row in rows]


def last_values(path: Path) -> dict[str, float]:
    """The newest value of every metric in a metrics.csv."""
    values: dict[str, float] = {}
    for row in read_metrics(path):
        values |= row
    return values


def _number(name: str, value: str) -> float:
    return int(value) if name in ("step", "epoch") else float(value)
