"""What `python -m genie.act` prints at the end."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


def report_table(summary: dict[str, Any]) -> Table:
    """The agent beside the random policy, with 95% confidence intervals."""
    title = f"{summary['run']}, {summary['environment']}: {summary['episodes']} episodes, 95% confidence intervals"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure")
    for name in dict.fromkeys((summary["agent"], "random")):
        table.add_column(name, justify="right")
    sides = [summary] if summary["agent"] == "random" else [summary, summary["random"]]
    rows = [_row(label, sides, name) for name, label in (("return", "return"), ("length", "decisions"))]
    if summary["success"] is not None:
        rows.append(_row(f"success: above {summary['success_above']:g}", sides, "success", 100, "%"))
    if all(side["balls_returned"] for side in sides):
        rows.append(_row("balls returned", sides, "balls_returned", 100, "%"))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def report_lines(summary: dict[str, Any]) -> list[str]:
    """What the agent is better by, how fast it is, and how honest its imagination was."""
    lines = []
    if difference := summary["difference"]:
        lines.append(f"better than random by {interval(difference)}: {_errors(difference)} (Welch)")
    if difference := summary["difference_balls_returned"]:
        lines.append(
            f"balls returned more than at random: {interval(difference, 100, '%')}: {_errors(difference, 100, '%')}"
        )
    lines.append(f"{summary['decisions_per_second']:.2f} decisions a second")
    if imagined := summary["imagined"]:
        lines.append(
            f"returns imagined for the plans {imagined['imagined']:.3g}, true ones in the same steps "
            f"{imagined['true']:.3g}: too much by {interval(imagined['gap'])}, correlation "
            f"{imagined['correlation']:.2f} over {imagined['pairs']} plans"
        )
    return lines


def interval(estimate: dict[str, float], scale: float = 1, unit: str = "") -> str:
    """A mean, and in brackets its interval."""
    mean, low, high = (scale * estimate[name] for name in ("mean", "low", "high"))
    return f"{mean:.4g}{unit} ({low:.4g} … {high:.4g})"


def _errors(difference: dict[str, float], scale: float = 1, unit: str = "") -> str:
    error = scale * difference["std_error"]
    return f"{error:.3g}{unit} standard error, {difference['standard_errors']:.1f} of them"


def _row(label: str, sides: list[dict], name: str, scale: float = 1, unit: str = "") -> tuple[str, ...]:
    return label, *(interval(side[name], scale, unit) for side in sides)
