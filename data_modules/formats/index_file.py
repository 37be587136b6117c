"""Index file of a folder of videos: what was found out about them, as arrays, written atomically.

It lies hidden beside the videos, or in the cache folder where their folder is not writable.
"""

import fcntl
import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_modules.formats.video_file import Video, VideoSource
from genie.common.files import cache_folder, replacing


@dataclass(frozen=True)
class Entry:
    """Result of the inspection of a video.

    stamp: (size, modification time in ns) of the inspected file.
    problem: why it cannot be trained on, "" where it can; with a problem, all other values are meaningless.
    which … only_pyav: as in `Video`; `which` is not stored: it is printed after the inspection.
    cuts: int64 [C], numbers of the frames that begin a new scene; empty where cuts were not detected.
    """

    stamp: tuple[int, int]
    problem: str = ""
    which: str = ""
    stream: int = 0
    times: np.ndarray = field(default_factory=lambda: np.empty(0))
    cuts: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    height: int = 0
    width: int = 0
    timed: bool = False
    only_pyav: str = ""

    def video(self, path: VideoSource) -> Video:
        return Video(path, self.stream, self.times, self.height, self.width, self.timed, self.only_pyav)


@contextmanager
def locked(folder: Path, name: str) -> Iterator[Path]:
    """The path of the index `name` of a folder, locked for this process. Raises OSError where no index can be kept."""
    home = folder
    try:
        lock = open(home / f".{name}.lock", "w")  # noqa: SIM115
    except OSError:
        home = cache_folder() / "videos" / hashlib.sha256(os.path.abspath(folder).encode()).hexdigest()[:16]
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / f".{name}.lock", "w")  # noqa: SIM115
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process of a job inspects the videos, the others wait
        yield home / f".{name}.npz"


def save(path: Path, entries: dict[str, Entry]) -> None:
    """Writes entries by their paths."""
    found = list(entries.values())
    facts = [[*entry.stamp, entry.stream, entry.height, entry.width, entry.timed] for entry in found]
    with replacing(path) as file:
        np.savez(
            file,
            paths=np.array(list(entries), dtype=np.str_),
            problems=np.array([entry.problem for entry in found], dtype=np.str_),
            only_pyav=np.array([entry.only_pyav for entry in found], dtype=np.str_),
            facts=np.array(facts, dtype=np.int64).reshape(-1, 6),
            **_joined("times", [entry.times for entry in found]),  # pyright: ignore[reportArgumentType]
            **_joined("cuts", [entry.cuts for entry in found]),
        )


def load(path: Path) -> dict[str, Entry]:
    """Entries by their paths; {} where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
    times, cuts = (np.split(columns[name], columns[f"{name}_ends"][:-1]) for name in ("times", "cuts"))
    texts = (columns[name].tolist() for name in ("paths", "problems", "only_pyav"))
    return {
        key: Entry((size, changed), problem, "", stream, t, c, height, width, bool(timed), only_pyav)
        for key, problem, only_pyav, (size, changed, stream, height, width, timed), t, c in zip(
            *texts, columns["facts"].tolist(), times, cuts, strict=True
        )
    }


def stamp_of(path: Path) -> tuple[int, int]:
    """(size, modification time in ns) of a file; zeros where it has just been deleted, or is a broken link."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _joined(name: str, parts: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of different lengths as one, and the end of each."""
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
    return {name: np.concatenate(parts) if parts else np.empty(0), f"{name}_ends": ends}
