"""Tables of results in README.md and docs/*.md, written from docs/results/*.json: no figure is typed.

    python -m docs.tables                           writes them anew
    python -m docs.tables --check                   writes nothing; exits with 1 where one differs from its files
    python -m docs.tables --add outputs/pong --as pong     keeps what was measured on a run, for a table

A table is between two lines of a page,

    <!-- table: worlds -->
    <!-- end of table -->

and is declared under its name in docs/result_tables.py.
"""

import argparse
import difflib
import re
import string
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from docs.result_files import FOLDER, add, load
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.tables import short, size
from genie.training.memory_plan.plan_memory import duration, power

MARKED = re.compile(r"(<!-- table: (?P<name>\w+) -->\n)(?P<table>.*?)(<!-- end of table -->)", re.DOTALL)
Template = str | Sequence[str]  # alternatives: the first of which all figures are there


@dataclass(frozen=True)
class Table:
    """A table of Markdown.

    A cell is a template of `str.format` over the files of docs/results: "{pong.tokenizer.psnr:.1f} dB",
    "{demo.lam.action_accuracy:.1%}", "{pong.rollout.psnr_by_horizon[9]:.1f}". It is empty where a figure was not
    measured. Texts are shown as they are in the file, whatever the format, so published figures keep their digits.
    `sources`: the files whose command, date, machine and seed are listed below the table. A row of which nothing was
    measured is left out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Template]]
    sources: Sequence[str] = ()

    def lines(self, results: SimpleNamespace, page: Path) -> Iterator[str]:
        yield f"| {' | '.join(self.header)} |"
        yield "|" + "---|" * len(self.header)
        for label, *cells in self.filled(results):
            yield f"| {' | '.join([label, *cells])} |".replace("  |", " |")
        if self.sources:
            yield ""
        for name in self.sources:
            yield f"- {source(name, results, page)}"

    def filled(self, results: SimpleNamespace) -> list[list[str]]:
        """The texts of all cells; a row may have fewer templates than there are columns."""
        rows = [[cell(template, results) for template in row] for row in self.rows]
        return [row + [""] * (len(self.header) - len(row)) for row in rows if any(row[1:])]


def by_run(corner: str, columns: Mapping[str, Template], rows: Mapping[str, str], sources: Sequence[str] = ()) -> Table:
    """A table with a run in each row: `rows` are names of files (or of parts of one, peers.jafar) by what the row is
    called; in the templates of `columns` "{.tokenizer.psnr}" is a figure of the row's run."""
    cells = [[label, *(named(template, {"": run}) for template in columns.values())] for label, run in rows.items()]
    return Table([corner, *columns], cells, sources)


def named(template: Template, files: Mapping[str, str]) -> Template:
    """A template with other names of files: "{near.lam.psnr}" with {"near": "demo"} is "{demo.lam.psnr}"."""
    if not isinstance(template, str):
        return [str(named(one, files)) for one in template]
    for name, file in files.items():
        template = template.replace(f"{{{name}.", f"{{{file}.")
    return template


FORMATS: dict[str, Callable[[float], str]] = {  # besides those of str.format
    "count": lambda number: short(number, 1000, ("", "k", "M", "B")),
    "bytes": size,
    "duration": duration,
    "power": power,
}


class Formatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None or value != value:
            raise LookupError("not measured")
        if isinstance(value, str):
            return value
        return FORMATS[format_spec](value) if format_spec in FORMATS else super().format_field(value, format_spec)


def cell(template: Template, results: SimpleNamespace) -> str:
    """The first alternative of which all figures are there; "" without one. A file that is not there is an error."""
    for one in [template] if isinstance(template, str) else template:
        for name in re.findall(r"\{(\w+)", one):
            if not hasattr(results, name):
                raise UserError(
                    f"{FOLDER / name}.json is not there: keep it with python -m docs.tables --add … --as {name}"
                )
        try:
            return Formatter().vformat(one, (), vars(results))
        except (AttributeError, LookupError):
            continue
    return ""


def source(name: str, results: SimpleNamespace, page: Path) -> str:
    """How the figures of a file came about, with a link to it."""
    kept, path = getattr(results, name), FOLDER / f"{name}.json"
    link = path.relative_to(page.parent) if page.parent != Path(".") else path
    steps = "{trained.tokenizer.steps:,} + {trained.lam.steps:,} + {trained.dynamics.steps:,} steps, "
    trained = cell([f"; trained for {steps}{{trained.hours:.1f}} hours on {{trained.device}}", ""], kept)
    measured = "`{command}`, {clips} clips, seed {seed}, {machine}, {date}"
    return f"[{name}]({link}): {cell([measured, '{date}'], kept)}{trained}"


def written(text: str, page: Path, tables: Mapping[str, Table], results: SimpleNamespace) -> str:
    """The text of a page with its tables as the files have them. Raises UserError for an unknown table."""

    def table(found: re.Match) -> str:
        if found["name"] not in tables:
            raise UserError(f"{page}: there is no table {found['name']}; there are {', '.join(tables)}")
        lines = tables[found["name"]].lines(results, page)
        return f"{found[1]}\n{chr(10).join(lines)}\n\n{found[4]}"

    return MARKED.sub(table, text)


def pages() -> list[Path]:
    return [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


def outdated() -> dict[Path, tuple[str, str]]:
    """{page: (its text, what it has to be)}. Raises UserError for a table that is on no page."""
    from docs.result_tables import TABLES

    results, found, shown = load(), {}, set()
    for page in pages():
        text = page.read_text(encoding="utf-8")
        shown |= {one["name"] for one in MARKED.finditer(text)}
        if (new := written(text, page, TABLES, results)) != text:
            found[page] = text, new
    if unused := TABLES.keys() - shown:
        raise UserError(f"the table {unused.pop()} is on no page: write <!-- table: … --> there, or remove it")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the tables of results in README.md and docs/*.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a table differs")
    parser.add_argument(
        "--add", metavar="FOLDER", type=Path, help="a run, the folder of an evaluation, an exported world"
    )
    parser.add_argument("--as", metavar="NAME", dest="name", help="… is kept as docs/results/NAME.json")
    parser.add_argument("--machine", help="of results that do not name it: 'AMD EPYC, 2 cores'")
    given = parser.parse_args()
    try:
        if given.add:
            if not given.name:
                raise UserError("--add takes --as NAME")
            print(add(given.add, given.name, given.machine))
            return
        found = outdated()
    except UserError as error:
        sys.exit(f"error: {error}")
    for page, (text, new) in found.items():
        if given.check:
            sys.stdout.writelines(
                difflib.unified_diff(text.splitlines(True), new.splitlines(True), str(page), "its files")
            )
            continue
        with replacing(page, "w", encoding="utf-8") as file:
            file.write(new)
        print(page)
    if given.check and found:
        sys.exit(
            f"error: {', '.join(map(str, found))}: a table differs from its files; python -m docs.tables writes it"
        )


if __name__ == "__main__":
    main()
