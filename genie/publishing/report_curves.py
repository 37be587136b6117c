"""Curves of a report, by chart: the training of each stage, errors against the horizon, ΔPSNR against t.

A colour stands for a run. What is measured is a strong line, its training value a thin one; references that are the
same for all runs are drawn once, in grey.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from callbacks.metrics_csv import families, wants_log_scale
from genie.metrics.metric_info import INTERVAL, REFERENCES, MetricInfo
from genie.publishing.report_charts import Chart, Series, chart
from genie.publishing.report_figures import curves, meaning
from genie.runs.metrics_file import read_metrics

Points = list[tuple[float, float | None]]
NOT_METRICS = ("step", "epoch")


@dataclass
class HorizonChart:
    """A chart over the horizon, and for the table under it each line's path, label, description and values."""

    chart: Chart
    values: list[tuple[str, str, MetricInfo, list[float | None]]]


def training_charts(metrics: list[tuple[str, Path]]) -> list[Chart]:
    """A chart for each kind of metric in the metrics.csv of one stage; `metrics`: (run, file)."""
    by_run = [(run, _columns(path)) for run, path in metrics]
    names = list(dict.fromkeys(name for _, columns in by_run for name in columns))
    charts = []
    for title, members in families(names).items():
        series = overlay([(run, {n: columns[n] for n in members if n in columns}) for run, columns in by_run], title)
        values = [y for one in series for _, y in one.points if y is not None]
        charts.append(chart(title.replace("_", " "), series, "step", title, log=wants_log_scale(values)))
    return charts


def horizon_charts(evaluations: list[tuple[str, dict]]) -> list[HorizonChart]:
    """A chart for each kind of curve over the horizon; `evaluations`: (run, contents of evaluation.json)."""
    by_run = [
        (run, {path.removesuffix("_by_horizon"): values for path, values in curves(one).items()})
        for run, one in evaluations
    ]
    names = list(dict.fromkeys(name for _, known in by_run for name in known))
    charts = []
    for head, members in families(names).items():
        known = meaning(f"{head}_by_horizon")
        label = known.label.removesuffix(" by horizon")
        unit = f" [{known.unit}]" if known.unit else ""
        lines = [(run, {n: list(enumerate(values[n], 1)) for n in members if n in values}) for run, values in by_run]
        made, step = ("imagined", "step") if head.startswith("prediction.") else ("generated", "frame")
        series = overlay(lines, head, made)
        if len(evaluations) == 1 and series and (spread := _interval(head, evaluations[0][1])):
            series[0].spread = spread
        drawn = chart(label, series, f"{made} {step} (horizon)", f"{label}{unit}")
        several = len(evaluations) > 1
        table = [
            (f"{name}_by_horizon", _label(name, head, made, run if several else ""), known, values[name])
            for run, values in by_run
            for name in members
            if name in values
        ]
        charts.append(HorizonChart(drawn, table))
    return charts


def delta_psnr_chart(evaluations: list[tuple[str, dict]]) -> Chart | None:
    """ΔPSNR against t with the spread between draws; None where it is known for fewer than two t."""
    series = []
    for index, (run, evaluation) in enumerate(evaluations):
        figures = evaluation.get("delta_psnr", {})
        times = sorted(int(name[1:]) for name in figures if re.fullmatch(r"t\d+", name))
        points = [(t, figures[f"t{t}"]) for t in times]
        spread = [(figures.get(f"t{t}_spread") or 0.0,) * 2 for t in times]
        label = "mean over clips, ± spread between draws"
        series.append(Series(f"{run}: {label}" if len(evaluations) > 1 else label, points, color(index), spread))
    if max((len(one.points) for one in series), default=0) < 2:
        return None
    return chart("ΔPSNR", series, "t, generated frames", "ΔPSNR [dB]")


def overlay(runs: list[tuple[str, dict[str, Points]]], head: str, measured: str = "") -> list[Series]:
    """The lines of one chart: `runs` are (run, its lines by name), `head` the bare name of the metric."""
    names = sorted(dict.fromkeys(name for _, lines in runs for name in lines), key=lambda name: _bare(name) != head)
    series, greys = [], 0
    for name in names:
        having = [(index, run, lines[name]) for index, (run, lines) in enumerate(runs) if name in lines]
        is_head = _bare(name) == head
        if not is_head and all(points == having[0][2] for *_, points in having):
            series.append(Series(_label(name, head, measured), having[0][2], f"b{greys}"))
            greys += 1
            continue
        for index, run, points in having:
            style = color(index) + (" thin" if name.startswith("train/") else "") + ("" if is_head else " faint")
            series.append(Series(_label(name, head, measured, run if len(runs) > 1 else ""), points, style))
    return series


def color(index: int) -> str:
    """The class of style.css of a run's colour."""
    return f"c{index % 6}"


def _label(name: str, head: str, measured: str, run: str = "") -> str:
    """`val/psnr_copy_last` -> "copy of the last frame", `val/psnr` -> "val"; after `run`, if one is given."""
    rest = _bare(name).removeprefix(head).lstrip("_")
    label = REFERENCES.get(rest, rest.replace("_", " ")) if rest else measured or name.split("/")[0]
    return f"{run}: {label}" if run else label


def _columns(path: Path) -> dict[str, Points]:
    columns: dict[str, Points] = {}
    for row in read_metrics(path):
        for name in row.keys() - NOT_METRICS:
            columns.setdefault(name, []).append((row["step"], row[name]))
    return dict(sorted(columns.items()))


def _bare(name: str) -> str:
    return name.split("/", 1)[-1]


def _interval(head: str, evaluation: dict) -> list[tuple[float, float]] | None:
    """Distances of the interval's ends from each point of a curve, below and above; None without an interval."""
    known = curves(evaluation, intervals=True)
    low, high, values = (known.get(f"{head}{end}_by_horizon") for end in (*INTERVAL, ""))
    if not (low and high and values):
        return None
    points = zip(low, values, high, strict=True)
    return [(0.0, 0.0) if None in point else (point[1] - point[0], point[2] - point[1]) for point in points]
