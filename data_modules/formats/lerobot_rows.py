"""Rows of a LeRobot data set as one file of columns, from which a few can be read without reading all.

Parquet is read by groups of rows, of which a file may have one alone. The columns that are needed are therefore written
once, a batch of rows at a time, to an HDF5 file in the hidden index of the data set; it is made anew where a file has
another size or modification time. All values are checked on the way.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from rich.progress import track

from data_modules.action_ids import listed, shortened
from data_modules.formats.episode_header import LARGEST_STATE
from data_modules.formats.index_file import locked, stamp_of
from genie.common.errors import UserError, reason
from genie.common.files import replacing

VERSION = 1  # of the meaning of the file
BATCH = 65536  # rows in memory at a time
EPISODE, FRAME, TIME = "episode_index", "frame_index", "timestamp"


@dataclass(frozen=True)
class Column:
    """key: in the Parquet files. dtype: "i8" or "f4". size: of a vector; None: one value."""

    key: str
    dtype: str
    size: int | None = None


TIMES = Column(TIME, "f4")


@dataclass(frozen=True)
class Block:
    """The rows of an episode: `row` of its file and `place` of the file of columns are those of the first. problem: why
    it cannot be used, or ""."""

    place: int
    row: int
    length: int
    problem: str


class RowTable:
    """The columns of all rows. blocks: by file and episode; problems: of files that cannot be read. Each process opens
    the file on its first read."""

    def __init__(self, path: Path, about: dict[str, Any]):
        self.path = path
        self.blocks = {(file, episode): Block(*rest) for file, episode, *rest in about["blocks"]}
        self.problems: dict[str, str] = about["problems"]
        self._identity = about["identity"]
        self._opened: h5py.File | None = None
        self._process = -1

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None, "_process": -1}

    def read(self, key: str, start: int, stop: int) -> np.ndarray:
        """Rows start … stop - 1 of a column."""
        if self._opened is None or self._process != os.getpid():
            self._opened, self._process = h5py.File(self.path, "r"), os.getpid()
            if _about(self._opened)["identity"] != self._identity:
                raise UserError(f"{self.path} is of other data by now: start again")
        return cast(h5py.Dataset, self._opened[key])[start:stop]


def row_table(root: Path, files: list[str], columns: list[Column]) -> RowTable:
    """The columns of the Parquet files `files` below `root`, from the index or made now. Raises UserError where nothing
    can be written."""
    columns = [TIMES, *columns]
    stamps = [[file, *stamp_of(root / file)] for file in files]
    identity = {"version": VERSION, "columns": [[c.key, c.dtype, c.size] for c in columns], "files": stamps}
    name = hashlib.sha256(json.dumps(identity["columns"]).encode()).hexdigest()[:8]
    try:
        with locked(root, f"lerobot-{name}") as place:
            place = place.with_suffix(".h5")
            about = _known(place)
            if about is None or about["identity"] != identity:
                with replacing(place) as temporary:
                    about = _write(Path(temporary.name), root, files, columns, identity)
    except OSError as error:
        raise UserError(f"cannot write the index of {root}: {reason(error)}; GENIE_CACHE= says where else") from error
    return RowTable(place, about)


def _known(path: Path) -> dict[str, Any] | None:
    try:
        with h5py.File(path, "r") as file:
            return _about(file)
    except (OSError, KeyError, ValueError, RuntimeError):  # missing or damaged
        return None


def _about(file: h5py.File) -> dict[str, Any]:
    return json.loads(bytes(cast(h5py.Dataset, file["about"])[()]))


def _write(path: Path, root: Path, files: list[str], columns: list[Column], identity: dict[str, Any]) -> dict[str, Any]:
    """Writes the file; returns what it says about itself."""
    lengths = {file: _length(root / file) for file in files}
    problems = {file: found for file, found in lengths.items() if isinstance(found, str)}
    total = sum(found for found in lengths.values() if isinstance(found, int))
    blocks: list[list[Any]] = []
    with h5py.File(path, "w") as target:
        for column in columns:
            shape = (total,) if column.size is None else (total, column.size)
            target.create_dataset(column.key, shape, column.dtype)  # contiguous: a few rows are a few bytes
        place = 0
        for file in track(list(files), "looking at rows", disable=len(files) < 2):
            if file in problems:
                continue
            try:
                found = _copy(root / file, target, columns, place)
            except Exception as error:  # pyarrow raises errors of many kinds for damaged files
                problems[file] = reason(error)
                continue
            blocks += [[file, episode, place + row, row, length, problem] for episode, row, length, problem in found]
            place += cast(int, lengths[file])
        about = {"identity": identity, "blocks": blocks, "problems": problems}
        target["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    return about


def _length(path: Path) -> int | str:
    """The number of rows of a Parquet file, or why it cannot be read."""
    import pyarrow.parquet as parquet

    try:
        return parquet.read_metadata(path).num_rows
    except FileNotFoundError:
        return "it is not there"
    except Exception as error:
        return reason(error)


def _copy(path: Path, target: h5py.File, columns: list[Column], place: int) -> list[tuple[int, int, int, str]]:
    """Copies the columns of a Parquet file to the rows from `place` on. Returns (episode, first row, length, problem)
    of each. Raises an exception where it cannot be read."""
    import pyarrow.parquet as parquet

    episodes, frames, times = [], [], []
    wrong: list[Wrong] = []
    with parquet.ParquetFile(path, memory_map=True) as file:
        names = file.schema_arrow.names
        wanted = [EPISODE, FRAME, *dict.fromkeys(column.key for column in columns)]
        if missing := [key for key in wanted if key not in names]:
            raise ValueError(f"it has no column {missing[0]}, only {listed(names)}")
        row = 0
        for batch in file.iter_batches(BATCH, columns=wanted):
            for index in (EPISODE, FRAME):
                (episodes if index == EPISODE else frames).append(_values(batch, Column(index, "i8"), row)[0])
            for column in columns:
                values, problems = _values(batch, column, row)
                if column.key == TIME:
                    times.append(values)
                wrong += problems
                cast(h5py.Dataset, target[column.key])[place + row : place + row + len(values)] = values
            row += len(batch)
    if not row:
        raise ValueError("it has no rows")
    return list(_blocks(np.concatenate(episodes), np.concatenate(frames), np.concatenate(times), wrong))


@dataclass(frozen=True)
class Wrong:
    """rows: int64 [n] of a file, rising, whose `values` [n] of the column `key` are not `allowed`."""

    rows: np.ndarray
    values: np.ndarray
    key: str
    allowed: str

    def within(self, first: int, end: int) -> str:
        """What is wrong with the first of the rows first … end - 1; "" where nothing is."""
        at = int(np.searchsorted(self.rows, first))
        if at == len(self.rows) or self.rows[at] >= end:
            return ""
        return f"row {self.rows[at]}: {self.key} is {self.values[at]:g}, and has to be {self.allowed}"


def _values(batch: Any, column: Column, row: int) -> tuple[np.ndarray, list[Wrong]]:
    """The values of a column in a batch of rows from `row` on, and which are wrong. Raises ValueError for a column of
    another type."""
    import pyarrow as pa

    array = batch.column(column.key)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    wrong: list[Wrong] = []
    count = 1 if column.size is None else column.size
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = np.asarray(array.value_lengths().fill_null(-1))
        if (lengths != count).any():
            at = int(np.argmax(lengths != count))
            raise ValueError(
                f"row {row + at} of the column {column.key} has {max(lengths[at], 0)} numbers, not {count}"
            )
        array = array.flatten()
    elif count != 1:
        raise ValueError(f"the column {column.key} is {array.type}, not lists of {count} numbers")
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type)):
        raise ValueError(f"the column {column.key} is {shortened(str(array.type))}, not numbers")
    if array.null_count:
        at = int(np.argmax(np.asarray(array.is_null()))) // count
        raise ValueError(f"row {row + at} of the column {column.key} is empty")
    values = array.to_numpy(zero_copy_only=False).reshape(len(batch), count)
    if values.dtype.kind == "f":
        bad = ~(np.abs(values) <= LARGEST_STATE)
        if column.dtype == "i8":
            bad |= values != np.floor(values)
        if bad.any():
            rows = np.flatnonzero(bad.any(1))
            worst = np.take_along_axis(values[rows], bad[rows].argmax(1)[:, None], 1)[:, 0]
            allowed = "a whole number" if column.dtype == "i8" else f"finite, at most ±{LARGEST_STATE:g}"
            wrong.append(Wrong(row + rows, worst, column.key, allowed))
        values = np.where(bad, 0, values)
    values = values.astype(column.dtype)
    return (values[:, 0] if column.size is None else values), wrong


def _blocks(
    episodes: np.ndarray, frames: np.ndarray, times: np.ndarray, wrong: list[Wrong]
) -> Iterator[tuple[int, int, int, str]]:
    """(episode, first row, length, problem) of each episode of a file."""
    starts = np.flatnonzero(np.diff(episodes, prepend=episodes[0] - 1))
    seen: set[int] = set()
    for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(episodes)], strict=True):
        episode, length = int(episodes[first]), end - first
        steps = np.arange(length)
        problem = next((text for one in wrong if (text := one.within(first, end))), "")
        if episode in seen:
            problem = f"row {first}: rows of the episode {episode} are in two places"
        elif (frames[first:end] != steps).any():
            at = int(np.argmax(frames[first:end] != steps))
            found = frames[first + at]
            what = "is there twice" if at and found == frames[first + at - 1] else f"where {at} has to be"
            problem = problem or f"row {first + at}: {FRAME} {found} {what}"
        elif (np.diff(times[first:end]) <= 0).any():
            at = int(np.argmax(np.diff(times[first:end]) <= 0)) + 1
            before, now = times[first + at - 1], times[first + at]
            problem = problem or f"row {first + at}: {TIME} {now:g} comes after {before:g}"
        seen.add(episode)
        yield episode, first, length, problem
