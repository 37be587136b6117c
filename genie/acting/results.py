"""The folder of a play: episodes.csv, plans.csv, summary.json, config.yaml and pictures.

A folder of an earlier version, which knew fewer columns and settings, is gone on with; one whose files were damaged or
edited into something else is a `UserError`.

Files are written whole after each episode: what was played is there after any stop, and can be gone on with.
"""

import csv
import json
from collections import Counter
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from genie.acting.episodes import Episode
from genie.acting.imagined import Pair
from genie.common.errors import UserError, reason
from genie.common.files import plain, replacing, to_json
from genie.common.folder_lock import empty

FREE = ("resume", "overwrite", "device", "output")  # keys that a play which goes on may change
FREE_ACT = ("episodes", "parallel")
RANDOM = "random"


@dataclass(frozen=True)
class Row:
    """An episode in episodes.csv; `agent`: the one that acts, or "random". The others are those of `Episode`; its
    return is the column "return"."""

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
    def of(cls, agent: str, episode: Episode) -> "Row":
        return cls(agent, episode.number, **{field.name: getattr(episode, field.name) for field in fields(cls)[2:]})


class ActingFolder:
    """`rows` and `pairs` of all episodes that are over. Raises UserError for a folder that holds some, unless
    config["resume"] or config["overwrite"] says what to do with them."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.rows, self.pairs = path, [], []
        settings = _settings(config)
        if config["resume"] and config["overwrite"]:
            raise UserError("resume=true and overwrite=true exclude each other: give one of them")
        if self._episodes.exists():
            if config["overwrite"]:
                empty(path)
            elif not config["resume"]:
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

    @property
    def _episodes(self) -> Path:
        return self.path / "episodes.csv"

    @property
    def _plans(self) -> Path:
        return self.path / "plans.csv"

    def played(self, agent: str) -> set[int]:
        """The numbers of its episodes that are there."""
        return {row.episode for row in self.rows if row.agent == agent}

    def of(self, agent: str, count: int) -> list[Row]:
        """Its first `count` episodes, as far as they are there."""
        return sorted((row for row in self.rows if row.agent == agent and row.episode < count), key=lambda r: r.episode)

    def add(self, agent: str, episode: Episode, pairs: list[Pair]) -> None:
        """An episode that is over. Its plans are written first: a row of it says that all is there."""
        self.pairs += pairs
        self.rows.append(Row.of(agent, episode))
        _write(self._plans, Pair, self.pairs)
        _write(self._episodes, Row, self.rows)

    def write_summary(self, summary: dict[str, Any]) -> Path:
        """summary.json."""
        path = self.path / "summary.json"
        with replacing(path, "w") as file:
            file.write(to_json(plain(summary)))
        return path

    def _read(self, settings: dict[str, Any]) -> None:
        changed = changes(_read_settings(self.path / "config.yaml", self._way_out), settings)
        if changed:
            raise UserError(
                f"cannot resume {self.path} with other settings ({', '.join(changed)}): give those of its config.yaml, "
                "or another act.name="
            )
        self.rows = _read(self._episodes, Row, self._way_out)
        if "cut" not in _header(self._episodes):  # of an earlier version: the environment's own end is not told apart
            longest = settings["act"]["max_steps"]
            self.rows = [replace(row, cut=not row.terminal and row.length == longest) for row in self.rows]
        twice = [key for key, count in Counter((row.agent, row.episode) for row in self.rows).items() if count > 1]
        if twice:
            raise UserError(f"{self._episodes} has episode {twice[0][1]} of {twice[0][0]} twice: {self._way_out}")
        known = self.played(settings["act"]["name"])
        self.pairs = [pair for pair in _read(self._plans, Pair, self._way_out) if pair.episode in known]

    @property
    def _way_out(self) -> str:
        return "mend it, take another folder with act.name=..., or delete this one with overwrite=true"


def read_summary(folder: Path) -> dict[str, Any]:
    """What `write_summary` wrote; None stands for a figure that is not finite."""
    return json.loads((folder / "summary.json").read_text())


def changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys that both have and that differ, as in `act.labels`. A key that one version alone knows is no change."""
    found = []
    for key in before.keys() & now.keys():
        if isinstance(before[key], dict) and isinstance(now[key], dict):
            found += changes(before[key], now[key], f"{prefix}{key}.")
        elif before[key] != now[key]:
            found.append(f"{prefix}{key}")
    return sorted(found)


def _read_settings(path: Path, way_out: str) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}): {way_out}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings: {way_out}")
    return settings


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in FREE}
    kept["act"] = {name: value for name, value in config["act"].items() if name not in FREE_ACT}
    return json.loads(json.dumps(kept))  # as it is read again


def _write(path: Path, kind: type, rows: list) -> None:
    with replacing(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_columns(kind))
        writer.writerows(asdict(row).values() for row in rows)


def _read(path: Path, kind: type, way_out: str) -> list:
    """The rows of a file, [] where there is none; columns that it lacks have the default of the field. Raises UserError
    for a row that cannot be one."""
    if not path.exists():
        return []
    names = dict(zip(_columns(kind), fields(kind), strict=True))
    known = _header(path)
    if lacking := [name for name, field in names.items() if name not in known and field.default is MISSING]:
        raise UserError(f"{path} has no column {', '.join(lacking)}: {way_out}")
    rows: list = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                casts = {field.name: _truth if field.type is bool else field.type for field in names.values()}
                given = {field.name: row[name] for name, field in names.items() if name in known}
                rows.append(kind(**{name: casts[name](text) for name, text in given.items()}))
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}, row {len(rows) + 1}, cannot be read ({reason(error)}): {way_out}") from error
    return rows


def _header(path: Path) -> list[str]:
    """The names of the columns."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        return next(csv.reader(file), [])


def _columns(kind: type) -> list[str]:
    """The names of the fields; `return_` is no word of Python's here."""
    return [field.name.rstrip("_") for field in fields(kind)]


def _truth(text: str) -> bool:
    if text not in (truths := {"True": True, "False": False, "TRUE": True, "FALSE": False}):  # as spreadsheets write it
        raise ValueError(f"{text!r} is neither True nor False")
    return truths[text]
