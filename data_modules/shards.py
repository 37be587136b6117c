"""Many episode files as one: opened quickly however many they are, and few of them held open at a time."""

import sys
from collections import OrderedDict
from pathlib import Path

from data_modules.action_ids import StoredNames
from data_modules.episode_header import EpisodeHeader
from data_modules.episode_reader import EpisodeReader
from data_modules.frame_reader import JoinedReaders, Reading
from data_modules.shard_index import headers_of
from genie.common.errors import UserError

MOST_OPEN = 64  # files of a process: some systems allow 256 in all, and an open one keeps megabytes of its chunks
MOST_NAMED = 10  # damaged files; then their number alone is said


class Shards(JoinedReaders):
    """Episode files one behind the other, as `JoinedReaders`; no more than `MOST_OPEN` are open in a process."""

    def __init__(self, path: Path, readers: list[EpisodeReader]):
        super().__init__(path, readers)
        self._recent: OrderedDict[int, None] = OrderedDict()  # numbers of the readers that may hold a file open

    def reader(self, number: int) -> EpisodeReader:
        self._recent[number] = None
        self._recent.move_to_end(number)
        if len(self._recent) > MOST_OPEN:
            self.readers[self._recent.popitem(last=False)[0]].close()
        return self.readers[number]


def open_shards(path: Path, files: list[Path], reading: Reading) -> Shards:
    """The files below the folder `path` as one reader.

    reading.on_error: "skip": files that are damaged or no episode files are named and left out; "raise": the first of
    them is a UserError, as it is where none is left.
    """
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
    """The header, or what is wrong: names of actions that are none, too, where `data.actions.names` gives no others."""
    if isinstance(header, str) or reading.actions.names is not None:
        return header
    try:
        StoredNames(header.action_meanings, header.names_problem).of(file)
    except UserError as error:
        return str(error)
    return header


def report_skipped(path: Path, total: int, damaged: list[str]) -> None:
    """Says which files are left out, and why, each once."""
    for problem in damaged[:MOST_NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    more = f", {len(damaged) - MOST_NAMED} of them not named here" if len(damaged) > MOST_NAMED else ""
    count = f"{len(damaged)} of {total} episode files"
    print(f"{path}: {count} cannot be read and are left out{more}", file=sys.stderr, flush=True)
