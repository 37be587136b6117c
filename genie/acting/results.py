"""The folder of a play: episodes.csv, plans.csv, summary.json, config.yaml and pictures.

Files are written whole after each episode: what was played is there after any stop, and can be gone on with.
"""

import csv
import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from genie.acting.episodes import Episode
from genie.acting.imagined import Pair
from genie.errors import UserError
from genie.evaluation.run import plain, to_json
from genie.files import replacing

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
    balls: int
    returned: int
    seconds: float

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
                shutil.rmtree(path)
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
        before = yaml.safe_load((self.path / "config.yaml").read_text())
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise UserError(
                f"cannot resume {self.path} with other settings ({', '.join(changed)}): give those of its config.yaml, "
                "or another act.name="
            )
        self.rows = _read(self._episodes, Row)
        known = self.played(settings["act"]["name"])
        self.pairs = [pair for pair in _read(self._plans, Pair) if pair.episode in known]


def read_summary(folder: Path) -> dict[str, Any]:
    """What `write_summary` wrote; None stands for a figure that is not finite."""
    return json.loads((folder / "summary.json").read_text())


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in FREE}
    kept["act"] = {name: value for name, value in config["act"].items() if name not in FREE_ACT}
    return json.loads(json.dumps(kept))  # as it is read again


def _write(path: Path, kind: type, rows: list) -> None:
    with replacing(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_columns(kind))
        writer.writerows(asdict(row).values() for row in rows)


def _read(path: Path, kind: type) -> list:
    if not path.exists():
        return []
    casts = [_truth if field.type is bool else field.type for field in fields(kind)]
    with open(path, newline="") as file:
        rows = csv.DictReader(file)
        return [kind(*(cast(row[name]) for name, cast in zip(_columns(kind), casts, strict=True))) for row in rows]


def _columns(kind: type) -> list[str]:
    """The names of the fields; `return_` is no word of Python's here."""
    return [field.name.rstrip("_") for field in fields(kind)]


def _truth(text: str) -> bool:
    return text == "True"
