"""The table that `python -m genie.act` prints."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def report_table(summary: dict[str, Any]) -> Table:
    """The agent beside the random policy, with 95% confidence intervals; then how honest its imagination was."""
    title = f"{summary['run']}, {summary['environment']}: {summary['episodes']} episodes, 95% confidence intervals"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure", no_wrap=True)
    for name in dict.fromkeys((summary["agent"], "random")):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold")
    sides = [summary] if summary["agent"] == "random" else [summary, summary["random"]]
    rows = [_row(label, sides, name) for name, label in (("return", "return"), ("length", "decisions"))]
    if summary["success"] is not None:
        above = f"return above {summary['success_above']:g}"
        rows.append((*_row("success rate", sides, "success", 100, "%")[:-1], above))
    blank = ("",) * (len(sides) - 1)
    if difference := summary["difference"]:
        errors = difference["standard_errors"]
        note = f"standard error {difference['std_error']:.3g}, {errors:.1f} of them (Welch)"
        rows.append(("difference", interval(difference), *blank, note))
    rows.append(("decisions a second", f"{summary['decisions_per_second']:.2f}", *blank, ""))
    if imagined := summary["imagined"]:
        note = f"imagined {imagined['imagined']:.3g}, true {imagined['true']:.3g} in the same steps"
        rows.append(("imagined minus true", interval(imagined["gap"]), *blank, note))
        rows.append(("… correlation", f"{imagined['correlation']:.2f}", *blank, f"{imagined['pairs']} plans"))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def interval(estimate: dict[str, float], scale: float = 1, unit: str = "") -> str:
    """A mean, and in brackets its interval."""
    mean, low, high = (scale * estimate[name] for name in ("mean", "low", "high"))
    return f"{mean:.4g}{unit} ({low:.4g} … {high:.4g})"


def _row(label: str, sides: list[dict], name: str, scale: float = 1, unit: str = "") -> tuple[str, ...]:
    return label, *(interval(side[name], scale, unit) for side in sides), ""
