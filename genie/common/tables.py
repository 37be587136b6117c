"""Tables on standard output, never truncated."""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(table: Table) -> None:
    """Prints a table, its title on a line of its own.

    Cells are literal: "[red]" or ":x:" in a path is not markup. In a file or pipe each row is one line, however wide
    (rich would truncate at 80 columns); in a narrow terminal cells wrap, those of the widest columns first.
    """
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    if table.title:
        console.print(Text(str(table.title), style="italic"), soft_wrap=True)
        table.title = None
    if not sys.stdout.isatty():
        needed = console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum
        console.width = max(console.width, needed)
    console.print(table)


def size(num_bytes: float) -> str:
    """1536 -> "1.5 KiB"."""
    return short(num_bytes, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def short(value: float, base: int, units: tuple[str, ...]) -> str:
    """A number with three digits and the fitting one of `units`, each `base` times the one before."""
    for unit in units:
        if value < base or unit == units[-1]:
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"
        value /= base
    raise AssertionError("units is empty")
