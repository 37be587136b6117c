"""Tables for terminals and pipes.

Tables on standard output that lose nothing: as wide as they are in a file or pipe, folded in a narrow terminal.
"""

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(table: Table) -> None:
    """Prints a table, its title on a line of its own.

    Cells are shown as they are: "[red]" or ":x:" in a path is no markup. Where the output is no terminal, each row is
    one line, however wide (rich would take 80 columns and cut numbers); in a terminal that is too narrow, cells go on
    in the next line, those of the widest columns first.
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
    """A number with three digits and the unit of `units`, each `base` times the one before, that makes it short."""
    for unit in units:
        if value < base or unit == units[-1]:
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"
        value /= base
    raise AssertionError("units is empty")
