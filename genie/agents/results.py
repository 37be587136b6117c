"""Results of a play: the files of its folder, summary.json, and the printed report.

The folder holds episodes.csv, plans.csv, summary.json, config.yaml and pictures. Files are written whole after each
episode, so a play resumes after any stop. A folder of an earlier version, with fewer columns and settings, resumes too;
damaged or edited files are a `UserError`.
"""

import csv
import json
import math
from collections import Counter
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import yaml
from rich import box
from rich.table import Table
from rich.text import Text

from genie.agents.episodes import Episode
from genie.agents.statistics import Estimate, PromisedAndTrue, difference_of, mean_of, optimism_of, share_of
from genie.common.errors import UserError, reason
from genie.common.files import plain, replacing, to_json
from genie.common.folder_lock import empty
from genie.common.profiling import machine, now, software_versions
from genie.common.settings.commands import ActConfig, Acting

FREE = ("resume", "overwrite", "device", "output")  # keys that may change when a play resumes
FREE_ACT = ("episodes", "parallel")
RANDOM = "random"
TRUTHS = {"True": True, "False": False, "TRUE": True, "FALSE": False}  # as spreadsheets write it
WAY_OUT = "mend it, take another folder with act.name=..., or delete this one with overwrite=true"


@dataclass(frozen=True)
class EpisodeRow:
    """A row of episodes.csv: the `agent` (its name, or "random") and fields of `Episode`."""

    agent: str
    episode: int
    seed: int
    return_: float
    length: int
    terminal: bool
    balls: int = 0
    returned: int = 0
    seconds: float = 0.0
    cut: bool = False

    @classmethod
    def of(cls, agent: str, episode: Episode) -> "EpisodeRow":
        return cls(agent, episode.number, **{field.name: getattr(episode, field.name) for field in fields(cls)[2:]})


class ActingFolder:
    """`rows` and `pairs` of all finished episodes. Raises UserError for a folder that holds some, without
    `resume` or `overwrite`."""

    def __init__(self, path: Path, config: ActConfig) -> None:
        self.path, self.rows, self.pairs = path, [], []
        self._episodes, self._plans = path / "episodes.csv", path / "plans.csv"
        settings = _settings(config)
        if config.resume and config.overwrite:
            raise UserError("resume=true and overwrite=true exclude each other: give one of them")
        if self._episodes.exists():
            if config.overwrite:
                empty(path)
            elif not config.resume:
                raise UserError(
                    f"{path} holds episodes already: resume=true goes on, act.name=... takes another folder, "
                    "overwrite=true deletes it"
                )
            else:
                self._read(settings)
        try:
            with replacing(path / "config.yaml", "w") as file:
                yaml.safe_dump(settings, file, sort_keys=False)
        except OSError as error:
            raise UserError(f"cannot write into {path} ({error.strerror or error})") from error

    def played(self, agent: str) -> set[int]:
        return {row.episode for row in self.rows if row.agent == agent}

    def of(self, agent: str, count: int) -> list[EpisodeRow]:
        """The finished episodes of an agent among its first `count`."""
        return sorted((row for row in self.rows if row.agent == agent and row.episode < count), key=lambda r: r.episode)

    def add(self, agent: str, episode: Episode, pairs: list[PromisedAndTrue]) -> None:
        """Adds a finished episode. Its plans are written first, so that its row implies that they are there."""
        self.pairs += pairs
        self.rows.append(EpisodeRow.of(agent, episode))
        _write(self._plans, PromisedAndTrue, self.pairs)
        _write(self._episodes, EpisodeRow, self.rows)

    def write_summary(self, summary: dict[str, Any]) -> Path:
        path = self.path / "summary.json"
        with replacing(path, "w") as file:
            file.write(to_json(plain(summary)))
        return path

    def _read(self, settings: dict[str, Any]) -> None:
        changed = changes(_read_settings(self.path / "config.yaml"), settings)
        if changed:
            raise UserError(
                f"cannot resume {self.path} with other settings ({', '.join(changed)}): give those of its config.yaml, "
                "or another act.name="
            )
        self.rows = _read(self._episodes, EpisodeRow)
        if "cut" not in _header(self._episodes):  # an earlier version did not tell cut episodes from others
            longest = settings["act"]["max_steps"]
            self.rows = [replace(row, cut=not row.terminal and row.length == longest) for row in self.rows]
        twice = [key for key, count in Counter((row.agent, row.episode) for row in self.rows).items() if count > 1]
        if twice:
            raise UserError(f"{self._episodes} has episode {twice[0][1]} of {twice[0][0]} twice: {WAY_OUT}")
        known = self.played(settings["act"]["name"])
        self.pairs = [pair for pair in _read(self._plans, PromisedAndTrue) if pair.episode in known]


def read_summary(folder: Path) -> dict[str, Any]:
    """The content of summary.json; None stands for a number that is not finite."""
    return json.loads((folder / "summary.json").read_text())


def changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys, such as `act.labels`, that both have with different values."""
    found = []
    for key in before.keys() & now.keys():
        if isinstance(before[key], dict) and isinstance(now[key], dict):
            found += changes(before[key], now[key], f"{prefix}{key}.")
        elif before[key] != now[key]:
            found.append(f"{prefix}{key}")
    return sorted(found)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}): {WAY_OUT}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings: {WAY_OUT}")
    return settings


def _settings(config: ActConfig) -> dict[str, Any]:
    kept = {name: value for name, value in config.plain().items() if name not in FREE}
    kept["act"] = {name: value for name, value in kept["act"].items() if name not in FREE_ACT}
    return json.loads(json.dumps(kept))  # as it is read again


def _write(path: Path, kind: type, rows: list) -> None:
    with replacing(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_columns(kind))
        writer.writerows(asdict(row).values() for row in rows)


def _read(path: Path, kind: type) -> list:
    """The rows of a file, [] without one; missing columns have the field's default. Raises UserError for bad rows."""
    if not path.exists():
        return []
    names = dict(zip(_columns(kind), fields(kind), strict=True))
    known = _header(path)
    if lacking := [name for name, field in names.items() if name not in known and field.default is MISSING]:
        raise UserError(f"{path} has no column {', '.join(lacking)}: {WAY_OUT}")
    casts = {name: (field.name, _truth if field.type is bool else field.type) for name, field in names.items()}
    rows: list = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                rows.append(kind(**{name: cast(row[key]) for key, (name, cast) in casts.items() if key in known}))
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}, row {len(rows) + 1}, cannot be read ({reason(error)}): {WAY_OUT}") from error
    return rows


def _header(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        return next(csv.reader(file), [])


def _columns(kind: type) -> list[str]:
    return [field.name.rstrip("_") for field in fields(kind)]


def _truth(text: str) -> bool:
    if text not in TRUTHS:
        raise ValueError(f"{text!r} is neither True nor False")
    return TRUTHS[text]


def summarise(folder: ActingFolder, config: ActConfig, env_id: str) -> dict[str, Any]:
    """The metrics of all finished episodes, as in summary.json.

    Of the agent and, under `random`, of the random policy: `return`, `length`, `success` (share of episodes above
    `success_above`; None where no threshold is known, and where it is one of whole episodes and some were cut, for
    which `success_not_measured` gives the reason) and `balls_returned` (Pong only: share of an episode's balls).
    `difference` of the returns by Welch, with its standard error and how many of these it is;
    `difference_balls_returned` likewise; `decisions_per_second`; `imagined`: see `PlanOptimism`.
    """
    settings, name = config.act, config.act.name
    rows, others = folder.of(name, settings.episodes), folder.of(RANDOM, settings.episodes)
    above = threshold(settings, env_id)
    cut = cut_short(rows if name == RANDOM else rows + others, settings) if above is not None else None
    measured = above if cut is None else None
    seconds, optimism = sum(row.seconds for row in rows), optimism_of(folder.pairs)
    summary = {
        "run": str(config.run),
        "environment": env_id,
        "agent": name,
        "seed": config.seed,
        "success_above": above,
        "success_not_measured": cut,
        **_metrics(rows, measured),
        "decisions_per_second": sum(row.length for row in rows) / seconds if seconds else float("nan"),
        "random": _metrics(others, measured),
        "difference": None,
        "difference_balls_returned": None,
        "imagined": optimism and {**asdict(optimism), "gap": _estimate(optimism.gap)},
    }
    if name != RANDOM:
        summary["difference"] = _difference([row.return_ for row in rows], [row.return_ for row in others])
        if summary["balls_returned"] and summary["random"]["balls_returned"]:
            summary["difference_balls_returned"] = _difference(_shares(rows), _shares(others))
    return {**summary, "date": now(), "machine": machine(), "versions": software_versions()}


def threshold(settings: Acting, env_id: str) -> float | None:
    """The return above which an episode is a success: from `act.success`, else from `act.thresholds` for this
    environment, else from Gymnasium's registry; None: unknown."""
    if settings.success is not None:
        return float(settings.success)
    if env_id in settings.thresholds:
        return float(settings.thresholds[env_id])
    spec = gym.registry.get(env_id)
    return None if spec is None or spec.reward_threshold is None else float(spec.reward_threshold)


def cut_short(rows: list[EpisodeRow], settings: Acting) -> str | None:
    """The reason why success is not measured: episodes were cut by `act.max_steps`, and the threshold is one of whole
    episodes. None where all are whole or `act.success` is given."""
    count = sum(row.cut for row in rows)
    if settings.success is not None or not count:
        return None
    return (
        f"{count} of {len(rows)} episodes were cut by act.max_steps={settings.max_steps}, and the threshold is of "
        "whole ones: give a larger act.max_steps=, or with act.success= a threshold of such episodes"
    )


def _metrics(rows: list[EpisodeRow], above: float | None) -> dict[str, Any]:
    totals, shares = [row.return_ for row in rows], _shares(rows)
    return {
        "episodes": len(rows),
        "return": _estimate(mean_of(totals)),
        "length": _estimate(mean_of([float(row.length) for row in rows])),
        "success": None if above is None else _estimate(share_of([total > above for total in totals])),
        "balls_returned": _estimate(mean_of(shares)) if shares else None,
    }


def _shares(rows: list[EpisodeRow]) -> list[float]:
    """The share of balls returned, of each episode that had some."""
    return [row.returned / row.balls for row in rows if row.balls]


def _difference(values: list[float], others: list[float]) -> dict[str, float]:
    difference = difference_of(values, others)
    errors = difference.mean / difference.std_error if difference.std_error else float("nan")
    return {**_estimate(difference), "standard_errors": errors}


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {name: value for name, value in asdict(estimate).items() if name != "count"}


def report_table(summary: dict[str, Any]) -> Table:
    """The agent beside the random policy, with 95% confidence intervals."""
    title = f"{summary['run']}, {summary['environment']}: {summary['episodes']} episodes, 95% confidence intervals"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("figure")
    for name in dict.fromkeys((summary["agent"], RANDOM)):
        table.add_column(name, justify="right")
    sides = [summary] if summary["agent"] == RANDOM else [summary, summary["random"]]

    def add(label: str, name: str, scale: float = 1, unit: str = "") -> None:
        table.add_row(Text(label), *(Text(interval(side[name], scale, unit)) for side in sides))

    add("return", "return")
    add("decisions", "length")
    if summary["success"] is not None:
        add(f"success: above {summary['success_above']:g}", "success", 100, "%")
    elif summary["success_not_measured"]:
        table.add_row(f"success: above {summary['success_above']:g}", *["not measured"] * len(sides))
    if all(side["balls_returned"] for side in sides):
        add("balls returned", "balls_returned", 100, "%")
    return table


def report_lines(summary: dict[str, Any]) -> list[str]:
    """Lines below the table: difference to the random policy, speed, and optimism of the plans."""
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
        shown = f"correlation {correlation:.2f} over" if known(correlation) else "no correlation:"
        why = "" if known(correlation) else ", too few, or all alike"
        lines.append(
            f"returns imagined for the plans {imagined['imagined']:.3g}, true ones in the same steps "
            f"{imagined['true']:.3g}: too much by {interval(imagined['gap'])}, {shown} {imagined['pairs']} plans{why}"
        )
    return lines


def known(value: float | None) -> bool:
    """Whether a value was measured: neither NaN nor, from a file, None."""
    return value is not None and math.isfinite(value)


def interval(estimate: dict[str, float | None], scale: float = 1, unit: str = "") -> str:
    """A mean with its interval in brackets, for people."""
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
