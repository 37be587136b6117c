"""No table loses a digit, wherever it is printed."""

import io
import sys

import pytest
from rich import box
from rich.table import Table

from genie.common.tables import print_table

ROWS = [("rollout PSNR, mean", "33.26", "4.57 G", "tokenizer alone 33.56, random actions 33.27, and more " * 3)]


def table(rows=ROWS, title=None) -> Table:
    made = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("figure", "value", "dynamics, trained", "note"):
        made.add_column(name, no_wrap=True)
    for row in rows:
        made.add_row(*row)
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [None, "40"])
def test_in_a_pipe_a_row_is_one_line(capsys, monkeypatch, columns):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    print_table(table())
    lines = [line for line in capsys.readouterr().out.splitlines() if "rollout" in line]
    assert len(lines) == 1
    assert all(cell.strip() in lines[0] for cell in ROWS[0])


@pytest.mark.parametrize("columns", [80, 40, 25])
def test_a_narrow_terminal_folds_and_cuts_nothing(monkeypatch, columns):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "25")
    monkeypatch.setenv("TERM", "dumb")  # no colours
    print_table(table([("a", "1234567.8901", "b", "0.000123456789")]))
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in terminal.getvalue()
    digits = [character for character in terminal.getvalue() if character.isdigit() or character == "."]
    assert sorted(digits) == sorted("1234567.89010.000123456789")


def test_a_long_title_is_one_line_and_a_path_is_no_markup(capsys):
    title = f"outputs/{'long/' * 40}[red]x[/red] :x:"
    print_table(table([("runs/[bold]a", "1", "2", ":smile:")], title))
    out = capsys.readouterr().out
    assert out.splitlines()[0] == title
    assert "runs/[bold]a" in out
    assert ":smile:" in out
