"""Index of metrics in docs/metrics.md, generated: `python -m genie.publishing.metrics_document [--check]`.

The text of that page explains the metrics; the table at its end lists all of the catalogue. Run the command after a
declaration was changed. With `--check` nothing is written, and an outdated page makes the command exit with 1.
"""

import argparse
import re
import sys
from pathlib import Path

from genie.common.files import replacing
from genie.evaluation.catalogue import evaluated_metrics, training_metrics
from genie.metrics.metric_info import HIGHER, LOWER

PAGE = Path("docs", "metrics.md")
BEGIN, END = "<!-- metrics: generated, see genie/publishing/metrics_document.py -->", "<!-- metrics: end -->"
ARROWS = {HIGHER: "↑", LOWER: "↓", None: ""}


def index() -> str:
    """The table, in Markdown; labels are links to the definitions."""
    lines = ["| metric | shows | unit | better | in training |", "|---|---|---|---|---|"]
    for metric in (*evaluated_metrics(), *training_metrics()):
        label = re.sub(r"\{(\w+)\}", r"*\1*", metric.label)
        if metric.definition:
            label = f"[{label}](#{anchor(metric.definition.section)})"
        shows = f"{label}: {metric.says}" if metric.says else label
        cells = (names(metric.path), shows, metric.unit, ARROWS[metric.better], names(metric.logged))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(re.sub(r" +\|", " |", line) for line in lines)


def names(text: str) -> str:
    """A pattern in the notation of documents: `<object>` for any text, `{first,last}` for alternatives."""
    if not text:
        return ""
    text = re.sub(r"\[(\w+)\](?!\+)", r"(\1)", text).replace("[0-9]+", "<n>")
    text = re.sub(r"\{(\w+)(?::d)?\}", r"<\1>", text)
    return "`" + re.sub(r"\{\w+:([^}]+)\}", lambda found: "{" + found[1].replace("|", ",") + "}", text) + "`"


def anchor(heading: str) -> str:
    """The link target of a heading, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def updated(page: str) -> str:
    """The page with the table between its two marks. Raises ValueError for a page without these."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has no lines {BEGIN} and {END}")
    return f"{before}{begin}\n\n{index()}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=f"Writes the index of metrics in {PAGE}.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is outdated")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    if updated(page) == page:
        return
    if check:
        sys.exit(f"{PAGE} is outdated: run python -m genie.publishing.metrics_document")
    with replacing(PAGE, "w", encoding="utf-8") as file:
        file.write(updated(page))


if __name__ == "__main__":
    main()
