"""The table of an ablation: on the terminal, as markdown, as CSV and with everything behind it as JSON."""

import csv
import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from genie.common.files import replacing

NOT_MEASURED = "–"


def write_tables(folder: Path, report: dict[str, Any]) -> None:
    """Writes table.md, table.csv and ablation.json into `folder`.

    `report`: `title`, `command` and `variants` (see `figures.summary`).
    """
    with replacing(folder / "ablation.json", "w") as file:
        file.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    with replacing(folder / "table.md", "w") as file:
        file.write(markdown(report))
    with replacing(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows(plain_rows(report))


def rich_table(report: dict[str, Any]) -> Table:
    """For the terminal: a row for each figure, a column for each variant, so that it fits."""
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
    """The rows of the CSV, with a column for the mean and one for the spread of every figure; empty: not measured."""
    names = headings(report)
    rows: list[list[Any]] = [["variant", "seeds", *(column for name in names for column in (name, f"{name}, spread"))]]
    for variant, entry in report["variants"].items():
        figures = [entry["figures"][name] for name in names]
        values = [figure[kind] for figure in figures for kind in ("mean", "spread")]
        rows.append([variant, " ".join(entry["worlds"]), *("" if value is None else value for value in values)])
    return rows


def headings(report: dict[str, Any]) -> list[str]:
    """The names of the figures, the same for all variants."""
    return list(next(iter(report["variants"].values()))["figures"])


def shown(figure: dict[str, Any]) -> str:
    """ "4.812 ± 0.3": four digits, and as many of the spread as tell."""
    if figure["mean"] is None:
        return NOT_MEASURED
    spread = "" if figure["spread"] is None else f" ± {digits(figure['spread'], 2)}"
    return digits(figure["mean"], 4) + spread


def digits(value: float, count: int) -> str:
    """That many digits that count, but whole numbers in full and never an exponent."""
    decimals = count - len(str(int(abs(value)))) if abs(value) >= 1 else count - 1
    return f"{value:.{max(0, decimals)}f}"
