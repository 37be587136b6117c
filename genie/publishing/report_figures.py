"""Metrics of one evaluation, or of several side by side, as rows: each with its references and its spread."""

import re
from dataclasses import dataclass, field
from typing import Any

from genie.evaluation.catalogue import find
from genie.evaluation.parts import PARTS
from genie.metrics.metric_info import HIGHER, INTERVAL, REFERENCES, MetricInfo, canonical
from genie.runs.folder import flatten

# groups of evaluation.json -> their titles, in order
GROUPS = {name: title for part in PARTS for name, title in part.titles.items()}
CONFUSION = "lam.confusion"  # a table of its own
ENDS = ("first", "last", "mean", "median", "pooled", "by_horizon")
NAME = re.compile(rf"(?P<base>.+?)(?:_(?P<reference>{'|'.join(REFERENCES)}))?(?:_(?P<end>{'|'.join(ENDS)}))?")
# shown at other places of the report
ELSEWHERE = ("run", "checkpoints", "world", "split", "clips", "frames", "prompt_frames", "horizon", "sampler", "seed",
             "device", "precision", "true_actions", "provenance", "cost", "left_out", "failed")  # fmt: skip


@dataclass
class Cell:
    """One run's value in a row: a number, a text or a list; None for a number that is not finite. `interval`: its low
    and high end."""

    value: Any
    spread: float | None = None
    interval: tuple[float, float] | None = None
    best: bool = False


@dataclass
class MetricRow:
    """A metric: one cell for each run (None where it has no such metric); `references` by their labels."""

    path: str
    meaning: MetricInfo
    cells: list[Cell | None]
    references: dict[str, "MetricRow"] = field(default_factory=dict)


@dataclass
class Group:
    """The rows of one group of evaluation.json."""

    name: str
    title: str
    rows: list[MetricRow]

    @property
    def columns(self) -> list[str]:
        """Labels of the references, in order."""
        return list(dict.fromkeys(name for row in self.rows for name in row.references))


def groups(evaluations: list[dict[str, Any]], comparable: bool) -> list[Group]:
    """All metrics of the evaluations but curves, by group. `comparable`: whether the best of a row may be marked."""
    found: dict[str, Group] = {}
    for row in rows(evaluations, comparable):
        part = row.path.split(".")[0]
        found.setdefault(part, Group(part, GROUPS.get(part, part.replace("_", " ")), [])).rows.append(row)
    order = list(GROUPS)
    return sorted(found.values(), key=lambda group: order.index(group.name) if group.name in order else len(order))


def rows(evaluations: list[dict[str, Any]], comparable: bool) -> list[MetricRow]:
    """The rows of all metrics; those that belong beside another one are its references."""
    values = [_figures(evaluation) for evaluation in evaluations]
    paths = list(dict.fromkeys(path for one in values for path in one))
    all_rows = {path: _row(path, values) for path in paths if not _is_spread(path, paths)}
    top = []
    for path, row in all_rows.items():
        of, called = _reference_of(path, all_rows)
        if of:
            all_rows[of].references[called] = row
        else:
            top.append(row)
            if comparable:
                mark_best(row)
    return top


def mark_best(row: MetricRow) -> None:
    """Marks the best cells of a row, where the direction is known and not all are equally good."""
    finite = [cell for cell in row.cells if cell and isinstance(cell.value, int | float)]
    values = {cell.value for cell in finite}
    if row.meaning.better is None or len(values) < 2:
        return
    best = max(values) if row.meaning.better == HIGHER else min(values)
    for cell in finite:
        cell.best = cell.value == best


def curves(evaluation: dict[str, Any], intervals: bool = False) -> dict[str, list[float | None]]:
    """All curves over the horizon, by path; with `intervals` also those of the ends of their intervals."""
    found = {path: value for path, value in _by_path(evaluation).items() if _is_curve(path, value)}
    ends = tuple(f"{end}_by_horizon" for end in INTERVAL)
    return found if intervals else {path: value for path, value in found.items() if not path.endswith(ends)}


def _figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    values = _by_path(evaluation)
    return {path: value for path, value in values.items() if not _is_curve(path, value) and path != CONFUSION}


def _by_path(evaluation: dict[str, Any]) -> dict[str, Any]:
    """All metrics by their `canonical` paths."""
    shown = {name: value for name, value in evaluation.items() if name not in ELSEWHERE}
    return {canonical(path): value for path, value in flatten(shown).items()}


def meaning(path: str) -> MetricInfo:
    """The description of a metric; that of an unknown one has its path as the label."""
    label = path.split(".", 1)[-1].replace(".", ", ").replace("_", " ")
    return find(path) or MetricInfo(path, label, digits=4)


def _is_curve(path: str, value: Any) -> bool:
    return path.endswith("_by_horizon") and isinstance(value, list)


def _is_spread(path: str, paths: list[str]) -> bool:
    return any(path.endswith(end) and path.removesuffix(end) in paths for end in ("_spread", *INTERVAL))


def _row(path: str, values: list[dict[str, Any]]) -> MetricRow:
    return MetricRow(path, meaning(path), [_cell(path, one) if path in one else None for one in values])


def _cell(path: str, values: dict[str, Any]) -> Cell:
    low, high = (values.get(path + end) for end in INTERVAL)
    interval = None if low is None or high is None else (low, high)
    return Cell(values[path], values.get(f"{path}_spread"), interval)


def _reference_of(path: str, known: dict[str, MetricRow]) -> tuple[str | None, str]:
    """The metric beside which this one belongs (None: beside none), and its label there."""
    group, _, name = path.rpartition(".")
    for other, row in known.items():
        if other.rpartition(".")[0] == group and name in row.meaning.beside:
            return other, row.meaning.beside[name]
    match = NAME.fullmatch(name)
    if match["reference"]:
        other = path.removesuffix(name) + match["base"] + (f"_{match['end']}" if match["end"] else "")
        if other in known:
            known[path].meaning = known[other].meaning  # the same unit and digits
            return other, REFERENCES[match["reference"]]
    return None, ""
