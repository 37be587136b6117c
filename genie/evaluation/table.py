"""Printed table of an evaluation: each metric beside those of two trivial predictions on the same frames."""

from rich import box
from rich.table import Table
from rich.text import Text

from genie.evaluation.parts import PARTS


def report_table(report: dict) -> Table:
    """The table of the contents of an evaluation.json. Parts that were left out have no rows; of those that failed it
    gives the reason."""
    trained_on = ", which the stages were trained on" if report["split"] == "train" else ""
    title = f"{report['run']}: {report['clips']} clips of {report['split']}{trained_on}, PSNR in dB"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure")
    for name in ("value", "copy last", "background"):
        table.add_column(name, justify="right")
    table.add_column("note")
    rows = [row for part in PARTS for row in part.rows(report)]
    rows += [(part, "", "", "", f"not measured: {reason}") for part, reason in report.get("failed", {}).items()]
    for row in rows:
        table.add_row(*map(Text, row))
    return table
