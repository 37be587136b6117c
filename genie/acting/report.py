"""What `python -m genie.act` prints at the end."""

import math
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
    elif summary["success_not_measured"]:
        rows.append((f"success: above {summary['success_above']:g}", *("not measured" for _ in sides)))
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
    if summary["success_not_measured"]:
        lines.append(f"success is not measured: {summary['success_not_measured']}")
    if known(summary["decisions_per_second"]):
        lines.append(f"{summary['decisions_per_second']:.2f} decisions a second")
    if imagined := summary["imagined"]:
        correlation = imagined["correlation"]
        told = f"correlation {correlation:.2f} over" if known(correlation) else "no correlation:"
        why = "" if known(correlation) else ", too few, or all alike"
        lines.append(
            f"returns imagined for the plans {imagined['imagined']:.3g}, true ones in the same steps "
            f"{imagined['true']:.3g}: too much by {interval(imagined['gap'])}, {told} {imagined['pairs']} plans{why}"
        )
    return lines


def known(value: float | None) -> bool:
    """Whether a figure is a number: NaN, and None of a file, stand for what could not be measured."""
    return value is not None and math.isfinite(value)


def interval(estimate: dict[str, float | None], scale: float = 1, unit: str = "") -> str:
    """A mean, and in brackets its interval, which one episode does not have."""
    if not known(estimate["mean"]):
        return "not measured"
    mean = f"{scale * estimate['mean']:.4g}{unit}"
    if not (known(estimate["low"]) and known(estimate["high"])):
        return f"{mean} (no interval: one episode)"
    return f"{mean} ({scale * estimate['low']:.4g} … {scale * estimate['high']:.4g})"


def _errors(difference: dict[str, float | None], scale: float = 1, unit: str = "") -> str:
    if not known(difference["std_error"]):
        return "no standard error: one episode"
    error = scale * difference["std_error"]
    if not known(difference["standard_errors"]):
        return "no standard error: all episodes of each are alike"
    return f"{error:.3g}{unit} standard error, {difference['standard_errors']:.1f} of them"


def _row(label: str, sides: list[dict], name: str, scale: float = 1, unit: str = "") -> tuple[str, ...]:
    return label, *(interval(side[name], scale, unit) for side in sides)
