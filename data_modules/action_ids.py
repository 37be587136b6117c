"""Ids of recorded actions: those of a file mapped to 0 … A-1, the same in every file and split.

A file may count its ids from 0 or 1, have -1 for "no action", and an order of its own (`data.actions`); a batch has the
positions 0 … A-1 in one list of names. An id without a position is an error when the data are opened, never silently
another action. The id in the last row of an episode, where no action was taken, is read as 0.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genie.common.errors import UserError

# Without names, ids this sparse are hashes or a mark such as 255, and no actions: A would be the highest of them + 1.
FEW_ACTIONS, SPARSE = 64, 4
MOST_IDS = 2**16  # distinct ids: more are continuous values stored as whole numbers
MOST_NAMED = 8  # names or ids in a message


@dataclass(frozen=True)
class ActionOptions:
    """How the actions of a data set are read; keys of `data.actions`.

    offset: subtracted from every id, 1 where they count from 1.
    none: the stored id of steps whose action is unknown; no clip has such a step.
    names: of the actions 0 … A-1. Ids of files with names are mapped by name, unless the file's names are the first of
        these; ids of other files stay as they are.
    count: A, where there are no names. None: the highest id of all splits + 1.
    range: of actions that are numbers, (low, high) of each, which become -1 and 1. None: the least and greatest in the
        data (`ActionNumbers`).
    change: each number is the change from that of the step before.
    clusters: numbers become so many ids (`ActionClusters`), or those of the nearest of these centroids.
    Raises UserError for invalid values.
    """

    offset: int = 0
    none: int | None = None
    names: tuple[str, ...] | None = None
    count: int | None = None
    range: tuple[tuple[float, ...], ...] | None = None
    change: bool = False
    clusters: int | tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        self._check_range()
        if isinstance(self.clusters, tuple) and (not self.clusters or len({len(one) for one in self.clusters}) > 1):
            raise UserError("data.actions.clusters must be a number, or a list of centroids of equally many numbers")
        if self.clusters is not None and (self.changes_ids or self.count is not None):
            raise UserError("data.actions.clusters makes ids of numbers: leave out data.actions.offset, none and count")
        if self.names is None:
            return
        if not isinstance(self.names, tuple) or not self.names or not all(isinstance(n, str) and n for n in self.names):
            raise UserError(f"data.actions.names={self.names} must be a list of names, such as [left,right]")
        if twice := repeated(self.names):
            raise UserError(f"data.actions.names has '{twice}' twice: every action needs a name of its own")
        if self.count not in (None, len(self.names)):
            raise UserError(f"data.actions.count={self.count} and {len(self.names)} data.actions.names: leave one out")

    def _check_range(self) -> None:
        for pair in self.range or ():
            if len(pair) != 2 or not pair[0] < pair[1]:
                raise UserError(f"data.actions.range has {list(pair)}: give [low, high] of each number of an action")

    @property
    def changes_ids(self) -> bool:
        return self.offset != 0 or self.none is not None

    @property
    def changes_numbers(self) -> bool:
        return self.range is not None or self.change

    @property
    def of_files(self) -> "ActionOptions":
        """Those by which files are read: names are of the clusters, where there are some, and not of the numbers."""
        return self if self.clusters is None else replace(self, names=None, clusters=None)

    @classmethod
    def of(cls, group: dict[str, Any] | None) -> "ActionOptions":
        """The options of a resolved group `data.actions`; None: the ids of the files unchanged."""
        group = dict(group or {})
        if unknown := group.keys() - cls.__dataclass_fields__.keys():
            known = ", ".join(cls.__dataclass_fields__)
            raise UserError(f"data.actions has no key {', '.join(sorted(unknown))}: {known}")
        return cls(**{key: _tuples(value) for key, value in group.items()})


def same_actions(given: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """A group `data.actions` with what actions were read by before, `kept`, where it is not given. How many clusters
    there are is the same as the centroids of so many."""
    same = {}
    for key in ("names", "range", "clusters"):
        now, then = given.get(key), kept.get(key)
        so_many = isinstance(then, list) and now == len(then)
        if then is not None and (now is None or so_many):
            same[key] = then
    return given | same


def _tuples(value: Any) -> Any:
    """Nested lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


class ActionIds:
    """The ids of one file, and the ids that a batch has.

    path: of the file. found: the distinct stored ids of its decisions, sorted. names: the file's own. Raises UserError
    for an id or a name that the data set does not have.

    Attribute names: of the actions of a batch, None where there are none. Attribute count: A; of a file without names,
    what its own ids need, until `settle` sets that of all files.
    """

    def __init__(self, path: Path | str, found: list[int], names: "StoredNames", options: ActionOptions):
        self.path, self.options = path, options
        self.found = [id for id in found if id != options.none]
        stored = None if options.names is not None and not names.usable else names.of(path)
        self.names = list(options.names) if options.names is not None else stored
        self.places: np.ndarray | None = None  # positions of the file's names in the data set's
        if options.names is not None and stored is not None and tuple(stored) != options.names[: len(stored)]:
            self.places = np.array([self._place(name) for name in stored], dtype=np.int64)
        if self.names and options.count not in (None, len(self.names)):
            raise UserError(
                f"data.actions.count={options.count}, and {path} names {len(self.names)} actions "
                f"({listed(self.names)}): leave it out, or give data.actions.names"
            )
        self._check(stored)
        highest = max(self.found, default=-1) - options.offset
        self.count = options.count or (len(self.names) if self.names else highest + 1)

    def _place(self, name: str) -> int:
        names = self.options.names
        assert names is not None  # asked for the place of a name in them
        if name not in names:
            raise UserError(
                f"{self.path} has an action '{name}', and there are {listed(names)}, by data.actions.names or by what "
                "was trained before on these: give the names of all actions, as the files have them, or other data"
            )
        return names.index(name)

    def _check(self, stored: list[str] | None) -> None:
        offset, named = self.options.offset, stored if self.places is not None else self.names
        limit = len(named) if named else self.options.count
        low = [id for id in self.found if id < offset]
        high = [id for id in self.found if limit is not None and id - offset >= limit]
        if not low and not high:
            return
        what = f"actions in {self.path} have the ids {listed(self.found)}"
        if offset:
            what += f", from which data.actions.offset={offset} is subtracted"
        if named:
            what += f", and {len(named)} actions are named ({listed(named)})"
        elif limit is not None:
            what += f", and data.actions.count={limit}"
        raise UserError(f"{what}: {' '.join(self._ways(low, high, limit))}")

    def _ways(self, low: list[int], high: list[int], limit: int | None) -> list[str]:
        """What the user may have meant, each with the key that sets it."""
        first, last = self.found[0], self.found[-1]
        strange, ways = low or high, []
        if len(strange) == 1 and self.options.none is None:
            ways.append(f"if {strange[0]} stands for no action, data.actions.none={strange[0]} leaves its clips out;")
        if limit is None or last - first < limit:
            ways.insert(len(ways) if low else 0, f"if ids count from {first}, data.actions.offset={first};")
        if high and not low:
            names = f"data.actions.names=[…] with {last - self.options.offset + 1} names"
            ways.append(f"if {'names are missing' if self.names else 'there are more'}, give {names};")
        ways.append("ids have to be 0 … A-1")
        return ways

    @property
    def unchanged(self) -> bool:
        return self.places is None and not self.options.changes_ids

    def read(self, stored: np.ndarray) -> np.ndarray:
        """int64: ids of rows as in a batch; 0 for the id `none` and for invalid ids, which only last rows have."""
        ids = stored.astype(np.int64) - self.options.offset
        valid = (ids >= 0) & (ids < (self.count if self.places is None else len(self.places)))
        if self.options.none is not None:
            valid &= stored != self.options.none
        ids = np.where(valid, ids, 0)
        return ids if self.places is None else np.where(valid, self.places[ids], 0)

    def without(
        self, stored: np.ndarray, episodes: np.ndarray, recordings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Episodes int64 [E, 2] and their recordings, split so that no clip has a step of the id `none`. stored: the
        ids of all rows. The row of such a step may still end a clip, whose last frame needs no action."""
        if self.options.none is None:
            return episodes, recordings
        unknown = np.flatnonzero(stored == self.options.none)
        parts, sources = [], []
        for (first, end), recording in zip(episodes.tolist(), recordings.tolist(), strict=True):
            inside = unknown[(unknown >= first) & (unknown < end - 1)] + 1
            bounds = [first, *inside.tolist(), end]
            parts += zip(bounds, bounds[1:], strict=False)
            sources += [recording] * (len(bounds) - 1)
        return np.array(parts, dtype=np.int64).reshape(-1, 2), np.array(sources, dtype=np.int64)


@dataclass(frozen=True)
class StoredNames:
    """The action names of a file. names: None where there are no valid ones. problem: why they are invalid, or ""."""

    names: list[str] | None = None
    problem: str = ""

    @property
    def usable(self) -> bool:
        return self.names is not None and not self.problem

    def of(self, path: Path | str) -> list[str] | None:
        """The names. Raises UserError for invalid ones."""
        if self.problem:
            raise UserError(
                f"action_meanings in {path} {self.problem}: write a list with a name for each id, or give "
                "data.actions.names=[…]"
            )
        return self.names


def stored_names(value: Any) -> StoredNames:
    """The names in an attribute `action_meanings` of any type."""
    if isinstance(value, bytes | str):
        text = decoded(value)
        try:
            value = json.loads(text)
        except ValueError:
            return StoredNames(problem=f"is one text, '{shortened(text)}', and no list of names")
    names = names_in(value)
    if names is None:
        return StoredNames(problem=f"is {shortened(str(value))}, and no list of names")
    if not names:
        return StoredNames()
    if twice := repeated(names):
        return StoredNames(problem=f"names two actions '{twice}'")
    return StoredNames(names)


def names_in(value: Any) -> list[str] | None:
    """The texts in a list or array of texts, which may be empty; None where `value` is something else."""
    if getattr(value, "shape", 0) is None:  # h5py.Empty
        return []
    try:
        values = np.asarray(value, dtype=object)
    except ValueError:
        return None
    if values.ndim != 1 or not all(isinstance(name, bytes | str) for name in values.tolist()):
        return None
    return [decoded(name) for name in values.tolist()]


def names_of_numbers(
    path: Path | str, size: int | None, stored: StoredNames, options: ActionOptions
) -> list[str] | None:
    """The names of the `size` numbers of a continuous action, None where there are none; None for ids (size None).
    Raises UserError where there are not as many names, or where the options are for ids."""
    if size is None:
        return None
    if options.changes_ids or options.count is not None:
        raise UserError(f"actions in {path} are {size} numbers: of data.actions, only names are for them")
    names = list(options.names) if options.names is not None else stored.of(path)
    if names is not None and len(names) != size:
        raise UserError(
            f"actions in {path} are {size} numbers, and {len(names)} are named ({listed(names)}): give "
            "data.actions.names=[…] with a name for each"
        )
    return names


def settle(files: list[ActionIds]) -> None:
    """Gives the ids of all files of a data set one number of actions. Raises UserError where their names differ."""
    for other in files[1:]:
        _require_same_names(files[0], other)
    count = max((file.count for file in files), default=0)
    for file in files:
        file.count = count


def question(files: list[ActionIds]) -> None:
    """Checks the ids of all files and splits of a data set without action names, after `settle`. Raises UserError where
    they are too sparse to be actions; prints a note where they may count from 1."""
    if not files or files[0].names is not None or files[0].options.count is not None:
        return
    options, count = files[0].options, files[0].count
    found = sorted({id for file in files for id in file.found})
    if count > max(FEW_ACTIONS, SPARSE * len(found)):
        path = next(file.path for file in files if file.found and file.found[-1] == found[-1])
        hint = f"if {found[-1]} stands for no action, data.actions.none={found[-1]} leaves its clips out; "
        raise UserError(
            f"actions in {path} have {len(found)} different ids up to {found[-1]} ({listed(found)}): "
            f"{hint if options.none is None else ''}if there are that many actions, give data.actions.count={count}"
        )
    if found and found[0] == options.offset + 1:
        print(
            f"{files[0].path}: no action has the id {options.offset}: if ids count from {found[0]}, give "
            f"data.actions.offset={found[0]}",
            file=sys.stderr,
            flush=True,
        )


def _require_same_names(one: ActionIds, other: ActionIds) -> None:
    """Raises UserError where two files of a data set do not name the same actions in the same order."""
    if one.names == other.names:
        return
    if one.names is None:
        one, other = other, one
    assert one.names is not None  # both would be equal
    suggestion = f"data.actions.names=[{','.join(one.names)}]"
    if other.names is None:
        raise UserError(
            f"{one.path} names its actions {listed(one.names)}, {other.path} does not: if its ids mean the same, give "
            f"{suggestion}"
        )
    raise UserError(
        f"{one.path} names its actions {listed(one.names)}, {other.path} {listed(other.names)}: give the names of all "
        f"of them in one order, as in {suggestion}, and ids are read by their names"
    )


def repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs a second time."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def decoded(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def shortened(text: str) -> str:
    """A text cut to 60 characters on one line."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:60]}…"


def listed(values: Iterable[Any]) -> str:
    """Values as a list for a message, the middle of a long one left out."""
    words = [shortened(str(value)) for value in values]
    return ", ".join(words if len(words) <= MOST_NAMED else [*words[: MOST_NAMED - 2], "…", words[-1]]) or "none"
