"""report.html: everything that is known of a run, or of several side by side, in one file that opens from disk.

results.py      what the runs left on disk
figures.py      the figures of evaluation.json as rows with references and spread; the best of a row
glossary.py     what each figure is called, its unit, which direction is better
definitions.py  what the measures are, in short
curves.py       which lines share a chart
charts.py       where the lines of a chart go
media.py        videos and pictures as data URIs
left_out.py     what is not in the report, and why
formats.py      numbers as a reader wants them
page.py         all of this put into the templates
templates/      HTML, SVG and CSS
"""

import sys
from pathlib import Path

from genie.common.cli import wants_trace
from genie.common.config_errors import one_line
from genie.common.files import replacing
from genie.evaluation.evaluate import Evaluated


def draw_report(runs: list[Evaluated], folder: Path) -> None:
    """Writes report.html into `folder` and says where. A report that cannot be drawn is one line on stderr: the figures
    themselves are written by then."""
    from genie.publishing.report_page import render

    path = folder / "report.html"
    try:
        html = render(runs)
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(html)
    except Exception as error:
        if wants_trace():
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        print(f"warning: {path} could not be drawn ({reason}); evaluation.json is complete", file=sys.stderr)
        return
    print(f"report: {path}")
