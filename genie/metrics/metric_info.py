"""Descriptions of metrics: label, unit, direction and definition, declared by the module that computes the metric.

A metric is known by its path in evaluation.json (`rollout.psnr_mean`), and where training logs the same quantity by
that name too (`rollout/psnr_mean`). Both are patterns:

- `{object}` stands for any text without a dot, `{t:d}` for digits, `{end:first|last}` for one of these words;
- `[_by_horizon]` may be there or not.

`genie.evaluation.catalogue` collects what the modules declare. This module imports nothing heavy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

HIGHER, LOWER = "higher", "lower"

# the ending of a name that marks a reference -> its label beside the metric
REFERENCES = {
    "copy_last": "copy of the last frame",
    "background": "constant background",
    "reconstruction": "tokenizer alone (the ceiling)",
    "constant_velocity": "constant velocity",
    "random_actions": "random actions",
    "simulator": "true simulator",
    "simulator_tokens": "true simulator, through the tokens",
    "majority": "always the most common",
    "game": "the real game, played likewise",
    "recorded": "recorded",
    "floor": "floor",
}
INTERVAL = ("_low", "_high")  # endings of the ends of an interval
TOKEN = re.compile(r"(\{\w+(?::[^}]+)?\}|\[[^\]]+\])")  # of a pattern


@dataclass(frozen=True)
class Definition:
    """A definition that metrics share, in short; docs/metrics.md has it in full under the heading `section`."""

    name: str
    title: str
    section: str
    text: str

    @property
    def where(self) -> str:
        return f"docs/metrics.md, {self.section}"


@dataclass(frozen=True)
class MetricInfo:
    """One kind of metric.

    Attributes:
        path: pattern of its path in evaluation.json, or of the name under which training logs it.
        label: may use the placeholders of `path`.
        says: one line on what is measured.
        unit: "%" stands for shares in [0, 1].
        digits: after the decimal point.
        better: `HIGHER`, `LOWER`, or None where neither is better.
        beside: names of metrics of the same group that are shown as its references -> their labels.
        logged: pattern of the names under which training logs the same quantity.
    """

    path: str
    label: str = ""
    says: str = ""
    definition: Definition | None = None
    unit: str = ""
    digits: int = 2
    better: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    logged: str = ""

    def matched(self, name: str) -> "MetricInfo | None":
        """The description of the metric `name`, its label filled in; None where this is another metric."""
        if found := pattern(self.path).fullmatch(name):
            return replace(self, label=self.label.format(**found.groupdict()).replace("_", " "))
        return self if self.logged and pattern(self.logged).fullmatch(name) else None


@cache
def pattern(text: str) -> re.Pattern:
    """The regular expression of a pattern of names."""
    return re.compile("".join(_expression(part) for part in TOKEN.split(text)))


def _expression(part: str) -> str:
    if part.startswith("["):
        return f"(?:{re.escape(part[1:-1])})?"
    if not part.startswith("{"):
        return re.escape(part)
    name, _, kind = part[1:-1].partition(":")
    return f"(?P<{name}>{ {'': '[^.]+', 'd': '[0-9]+'}.get(kind, kind) })"


def canonical(path: str) -> str:
    """The path with the video, wherever it is named, as the ending of the metric: `ball.generated.present` ->
    `ball.present`, `ball.copy_last.present` -> `ball.present_copy_last`, and `ball.present_copy_last_low` for the low
    end of its interval."""
    *parts, name = path.split(".")
    videos = [part for part in parts if part == "generated" or part in REFERENCES]
    ends = "".join(f"_{video}" for video in videos if video != "generated")
    by_horizon = "_by_horizon" if name.endswith("_by_horizon") else ""
    name = name.removesuffix("_by_horizon")
    interval = next((end for end in INTERVAL if videos and name.endswith(end)), "")
    name = name.removesuffix(interval) + ends + interval + by_horizon
    return ".".join([*[part for part in parts if part not in videos], name])
