"""Folders of many episode files (shards) as one data set.

Opening each of thousands of files takes minutes, so their headers are kept in an index. An entry holds for a path, a
size and a modification time: only new and changed files are opened, and entries of deleted files dropped.
"""

import json
import sys
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from data_modules.action_ids import StoredNames
from data_modules.formats.episode_header import EpisodeHeader, read_header
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.index_file import locked
from data_modules.frame_reader import JoinedReaders, Reading
from genie.common.errors import UserError
from genie.common.files import read_json, replacing

NAME = "episodes-3"  # of the index, with the version of its entries' meaning
MOST_OPEN = 64  # files of a process: some systems allow 256 in all, and an open one keeps megabytes of its chunks
MOST_NAMED = 10  # damaged files that are named; of the others only their number is reported


def headers_of(folder: Path, files: list[Path]) -> dict[Path, EpisodeHeader | str]:
    """The header of each of `files`, which are below `folder`; for a damaged one, the problem."""
    keys = {path: path.relative_to(folder).as_posix() for path in files}
    try:
        with locked(folder, NAME) as place:
            place = place.with_suffix(".json")
            known = read_json(place) or {}
            entries = {key: _entry(path, known.get(key)) for path, key in keys.items()}
            if entries != known:
                with replacing(place, "w") as file:
                    json.dump(entries, file)
    except OSError:  # no place for an index is writable
        entries = {key: _entry(path, None) for path, key in keys.items()}
    found = ((path, entries[key]) for path, key in keys.items())
    return {path: entry.get("damage") or EpisodeHeader(**entry["header"]) for path, entry in found}


def _entry(path: Path, known: dict[str, Any] | None) -> dict[str, Any]:
    try:
        status = path.stat()
    except OSError as error:  # a broken link
        return {"stamp": None, "damage": f"cannot read {path}: {error.strerror or error}"}
    stamp = [status.st_size, status.st_mtime_ns]
    if known is not None and known["stamp"] == stamp:
        return known
    try:
        return {"stamp": stamp, "header": asdict(read_header(path))}
    except UserError as error:
        return {"stamp": stamp, "damage": str(error)}


class Shards(JoinedReaders):
    """Episode files as `JoinedReaders`; no more than `MOST_OPEN` are open in a process."""

    def __init__(self, path: Path, readers: list[EpisodeReader]):
        super().__init__(path, readers)
        self._recent: OrderedDict[int, None] = OrderedDict()  # numbers of readers with an open file, the oldest first

    def reader(self, number: int) -> EpisodeReader:
        readers = cast("list[EpisodeReader]", self.readers)
        self._recent[number] = None
        self._recent.move_to_end(number)
        if len(self._recent) > MOST_OPEN:
            readers[self._recent.popitem(last=False)[0]].close()
        return readers[number]


def open_shards(path: Path, files: list[Path], reading: Reading) -> Shards:
    """The files below the folder `path` as one reader. reading.on_error: "skip": files that are damaged or no episode
    files are reported and left out; "raise": the first of them is a UserError. UserError, too, where none is left."""
    found = {file: usable(file, header, reading) for file, header in headers_of(path, files).items()}
    damaged = [problem for problem in found.values() if isinstance(problem, str)]
    if damaged:
        if reading.on_error == "raise":
            raise UserError(f"{damaged[0]} (data.on_error=skip leaves such files out)")
        if len(damaged) == len(found):
            raise UserError(f"none of the {len(found)} files in {path} can be read; the first: {damaged[0]}")
        report_skipped(path, len(found), damaged)
    readers = [
        EpisodeReader(file, reading.image_size, reading.in_memory, reading.fit, header, reading.actions)
        for file, header in found.items()
        if isinstance(header, EpisodeHeader)
    ]
    return Shards(path, readers)


def usable(file: Path, header: EpisodeHeader | str, reading: Reading) -> EpisodeHeader | str:
    """The header, or the problem of the file; invalid action names are one, unless `data.actions.names` is given."""
    if isinstance(header, str) or reading.actions.names is not None:
        return header
    try:
        StoredNames(header.action_meanings, header.names_problem).of(file)
    except UserError as error:
        return str(error)
    return header


def report_skipped(path: Path, total: int, damaged: list[str], what: str = "episode files") -> None:
    """Prints which files are left out, and why."""
    for problem in damaged[:MOST_NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    more = f", {len(damaged) - MOST_NAMED} of them not named here" if len(damaged) > MOST_NAMED else ""
    count = f"{len(damaged)} of {total} {what}"
    print(f"{path}: {count} cannot be read and are left out{more}", file=sys.stderr, flush=True)
