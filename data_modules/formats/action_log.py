"""Recorded actions of a video: an action for each frame, or when each began, from CSV, JSON lines, JSON or NumPy.

    frame,action        one line for each frame, which may be missing for the last one
    0,left
    seconds,action      what is done from then on; the first line is at 0
    0.0,left
    frame,pan,lift      numbers: every other column is one, where no column is called "action"
    0,12.5,-3

JSON lines have the same as `{"frame": 0, "action": "left"}`; in a JSON object, `"actions"` is a list of such objects or
of the actions of all frames in order. A NumPy array [N] or [N, A] has the actions of all frames. An action is a name,
an id (a whole number), a number, or a list of numbers. Where there are frames and seconds, frames decide.

Dimension letters: `N` actions, `A` numbers of one.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.action_ids import shortened
from genie.common.errors import UserError, reason

LARGEST = 1e18  # of a number: squares stay inside of float32
SAME_TIME = 1e-6  # seconds of rounding error between the time of a line and that of a row
LATEST = 1.0  # seconds after the end of a video in which a line may still be: recorders stop one after the other
FRAME, SECONDS, ACTION, ACTIONS = "frame", "seconds", "action", "actions"


class BadActions(UserError):
    """What is wrong in a file of actions: names the file, the line and the column."""


@dataclass(frozen=True)
class ActionLog:
    """The actions of one video.

    source: names the file in messages. places: [N], int64 frames or float64 seconds, rising. values: int64 [N] ids,
    float64 [N, A] numbers, or names as str [N]. numbers: names of the A numbers. lines: of each action, as messages
    name it.
    """

    source: str
    places: np.ndarray
    values: np.ndarray
    numbers: list[str] | None
    lines: Sequence[str]

    @property
    def timed(self) -> bool:
        """Whether actions are held from a time on, and not given for each frame."""
        return self.places.dtype.kind == "f"

    def numbers_of_rows(self, shown: np.ndarray, seconds: np.ndarray, num_frames: int, end: float) -> np.ndarray:
        """int64 [n]: the number of the action of each row, which shows frame `shown` and is at `seconds`. num_frames,
        end: of the video. Raises BadActions where there is none for some, or one beyond the end."""
        if self.timed:
            if self.places[0] > SAME_TIME:
                raise BadActions(
                    f"{self.source} begins at {self.places[0]:g} seconds, {self.lines[0]}: say in a line before it "
                    "what is done from 0 on"
                )
            if self.places[-1] > end + LATEST:
                raise BadActions(
                    f"{self.source}, {self.lines[-1]}: {self.places[-1]:g} seconds, and the video ends at {end:g}"
                )
            return np.searchsorted(self.places, seconds + SAME_TIME, side="right") - 1
        expected = np.arange(len(self.places))
        if (self.places != expected).any():
            gap = int(np.argmax(self.places != expected))
            raise BadActions(
                f"{self.source} has no action for frame {gap} ({self.lines[gap]} is frame {self.places[gap]}): give "
                "one for each frame, or seconds in place of frames, for actions that are held"
            )
        if len(expected) > num_frames:
            raise BadActions(
                f"{self.source}, {self.lines[num_frames]}: there is no frame {num_frames}, the video has {num_frames} "
                f"(0 … {num_frames - 1})"
            )
        if len(expected) < num_frames - 1:
            raise BadActions(
                f"{self.source} has {len(expected)} actions, the last of frame {len(expected) - 1}, and the video "
                f"{num_frames} frames"
            )
        return np.minimum(shown, len(expected) - 1)


def read_log(name: str, source: str, content: bytes) -> ActionLog | None:
    """The actions in a file. name: of the file, whose ending says what it is; source: in messages. None for a .json
    without "actions". Raises BadActions."""
    kind = name.rpartition(".")[2].lower()
    try:
        if kind == "npy":
            return _of_array(source, content)
        text = content.decode("utf-8-sig")
        if kind == "csv":
            return _of_csv(source, text)
        if kind == "jsonl":
            return _of_objects(source, *_json_lines(source, text))
        return _of_json(source, json.loads(text))
    except BadActions:
        raise
    except RecursionError:
        raise BadActions(f"{source} cannot be read: it is nested too deeply") from None
    except (ValueError, csv.Error) as error:
        raise BadActions(f"{source} cannot be read: {reason(error)}") from error


# -- formats ----------------------------------------------------------------------------------------------------------


def _of_array(source: str, content: bytes) -> ActionLog:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if (
        not isinstance(array, np.ndarray)
        or array.ndim not in (1, 2)
        or array.dtype.kind not in "biufU"
        or not array.size
    ):
        shape = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "several arrays"
        raise BadActions(f"{source} is {shape}: actions are ids [N], names [N] or numbers [N, A]")
    lines = _Numbered("action ", len(array), 0)
    if array.dtype.kind in "biu" and array.ndim == 1:
        values = array.astype(np.int64)
    elif array.dtype.kind == "U":
        values = array if array.ndim == 1 else array[:, 0]
    else:
        values = array.astype(np.float64).reshape(len(array), -1)
        _check_numbers(source, values, lines)
    return ActionLog(source, np.arange(len(array)), values, None, lines)


def _of_csv(source: str, text: str) -> ActionLog:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    place, columns = _columns(source, "its first line", header)
    rows, lines = [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise BadActions(
                f"{source}, line {reader.line_num} has {len(row)} columns, and the first line {len(header)}"
            )
        rows.append([cell.strip() for cell in row])
        lines.append(f"line {reader.line_num}")
    cells = list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in header]
    values = [_typed(cells[header.index(column)], each=columns != [ACTION]) for column in columns]
    return _log(source, place, _typed(cells[header.index(place)], each=True), columns, values, lines)


def _json_lines(source: str, text: str) -> tuple[list[Any], list[str]]:
    """The objects and the names of their lines."""
    objects, lines = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            objects.append(json.loads(line))
        except ValueError as error:
            raise BadActions(f"{source}, line {number} is no JSON: {reason(error)}") from error
        lines.append(f"line {number}")
    return objects, lines


def _of_json(source: str, content: Any) -> ActionLog | None:
    if not isinstance(content, dict) or ACTIONS not in content:
        return None
    actions = content[ACTIONS]
    if not isinstance(actions, list):
        raise BadActions(f'{source}: "actions" is {shortened(str(actions))}, and has to be a list')
    lines = [f"actions[{number}]" for number in range(len(actions))]
    if actions and isinstance(actions[0], dict):
        return _of_objects(source, actions, lines)
    return _log(source, FRAME, list(range(len(actions))), [ACTION], [actions], lines)


def _of_objects(source: str, objects: list[Any], lines: list[str]) -> ActionLog:
    for one, line in zip(objects, lines, strict=True):
        if not isinstance(one, dict):
            raise BadActions(
                f'{source}, {line} is {shortened(str(one))}, and has to be like {{"frame": 0, "action": 1}}'
            )
    place, columns = _columns(source, lines[0] if lines else "its first line", list(objects[0]) if objects else [])
    for one, line in zip(objects, lines, strict=True):
        for column in (place, *columns):
            if one.get(column) is None:
                raise BadActions(f"{source}, {line} has no {column}")
    return _log(
        source, place, [one[place] for one in objects], columns, [[o[c] for o in objects] for c in columns], lines
    )


# -- values -----------------------------------------------------------------------------------------------------------


def _columns(source: str, where: str, names: list[str]) -> tuple[str, list[str]]:
    """The column that says where actions are, and those with the actions."""
    place = FRAME if FRAME in names else SECONDS if SECONDS in names else None
    columns = [ACTION] if ACTION in names else [name for name in names if name not in (FRAME, SECONDS)]
    if place is None or not columns or len(set(names)) < len(names):
        found = shortened(", ".join(names)) or "nothing"
        raise BadActions(
            f"{source}, {where} has {found}: columns are frame or seconds, and action, or a name for each number"
        )
    return place, columns


def _log(source: str, place: str, places: list, columns: list[str], values: list[list], lines: list[str]) -> ActionLog:
    if not places:
        raise BadActions(f"{source} has no actions")
    if columns == [ACTION]:
        found = _values(source, columns[0], values[0], lines)
    else:
        for column, cells in zip(columns, values, strict=True):
            _require_numbers(source, column, cells, lines)
        found = np.array(values, dtype=np.float64).T.copy()
        _check_numbers(source, found, lines, columns)
    names = columns if columns != [ACTION] and found.dtype.kind == "f" else None
    return ActionLog(source, _places(source, place, places, lines), found, names, lines)


def _places(source: str, place: str, places: list, lines: list[str]) -> np.ndarray:
    """Frames or seconds. Raises BadActions where they are no such numbers, go back, or a frame is there twice."""
    for value, line in zip(places, lines, strict=True):
        whole = _is_number(value) and float(value).is_integer() and value < 2**53
        if not _is_number(value) or value < 0 or (place == FRAME and not whole):
            kind = "a whole number from 0 on" if place == FRAME else "a number of at least 0"
            raise BadActions(f"{source}, {line}: {place} is {shortened(str(value))}, and has to be {kind}")
    found = np.array(places, dtype=np.float64)
    steps = np.diff(found)
    wrong = np.flatnonzero(steps < 0 if place == SECONDS else steps <= 0)
    if len(wrong):
        at = int(wrong[0]) + 1
        after = "is there twice" if steps[at - 1] == 0 else f"comes after {found[at - 1]:g}"
        raise BadActions(
            f"{source}, {lines[at]}: {place} {found[at]:g} {after}: {place.removesuffix('s')}s have to rise"
        )
    return found.astype(np.int64) if place == FRAME else found


def _values(source: str, column: str, cells: list, lines: list[str]) -> np.ndarray:
    """Ids int64 [N], numbers float64 [N, A] or names [N] of one column."""
    first = cells[0]
    if isinstance(first, list):
        for cell, line in zip(cells, lines, strict=True):
            if not isinstance(cell, list) or len(cell) != len(first) or not cell or not all(map(_is_number, cell)):
                raise BadActions(f"{source}, {line}: {column} is {shortened(str(cell))}, and not {len(first)} numbers")
        found = np.array(cells, dtype=np.float64)
        _check_numbers(source, found, lines)
        return found
    if isinstance(first, str):
        for cell, line in zip(cells, lines, strict=True):
            if not isinstance(cell, str) or not cell:
                raise BadActions(f"{source}, {line}: {column} is {shortened(str(cell)) or 'empty'}, and no name")
        return np.array(cells, dtype=np.str_)
    _require_numbers(source, column, cells, lines)
    if all(float(cell).is_integer() and isinstance(cell, int) for cell in cells):
        if wrong := next((n for n, cell in enumerate(cells) if abs(cell) >= 2**62), None):
            raise BadActions(f"{source}, {lines[wrong]}: {column} is {cells[wrong]}, and no id")
        return np.array(cells, dtype=np.int64)
    found = np.array(cells, dtype=np.float64)[:, None]
    _check_numbers(source, found, lines, [column])
    return found


def _typed(cells: list[str], each: bool) -> list:
    """The cells of a column of CSV as numbers, where all of them are such, or with `each` those that are."""
    found = [_number(cell) for cell in cells]
    return found if each or not any(isinstance(one, str) for one in found) else cells


def _number(cell: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _require_numbers(source: str, column: str, cells: Iterable, lines: list[str]) -> None:
    for cell, line in zip(cells, lines, strict=True):
        if not _is_number(cell):
            raise BadActions(f"{source}, {line}: {column} is {shortened(str(cell)) or 'empty'}, and no number")


def _check_numbers(source: str, values: np.ndarray, lines: Sequence[str], columns: list[str] | None = None) -> None:
    wrong = ~(np.abs(values) <= LARGEST)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        name = f": {columns[column]}" if columns else f", number {column}"
        raise BadActions(
            f"{source}, {lines[row]}{name} is {values[row, column]:g}, and has to be finite, at most ±{LARGEST:g}"
        )


class _Numbered(Sequence[str]):
    """The names of the lines of an array: `action 0`, `action 1`, …"""

    def __init__(self, what: str, total: int, first: int):
        self.what, self.total, self.first = what, total, first

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{self.what}{self.first + range(self.total)[index]}"


def candidates(video: Path) -> list[Path]:
    """Where the actions of a video may be."""
    return [video.with_name(name + end) for name in (f"{video.stem}.{ACTIONS}", ACTIONS) for end in (".csv", ".jsonl")]


def beside(video: Path, alone: Callable[[Path], bool]) -> Path | None:
    """The file with the actions of a video: clip.actions.csv or .jsonl beside clip.mp4, or actions.csv or .jsonl where
    it is the only video in its folder, as `alone(folder)` says. Raises BadActions where there are two."""
    there = [path for path in candidates(video) if path.is_file()]
    found = [path for path in there if path.stem != ACTIONS or alone(video.parent)]
    if len(found) > 1:
        raise BadActions(f"{video} has actions in {found[0].name} and in {found[1].name}: leave one of them")
    return found[0] if found else None
