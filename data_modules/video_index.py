"""What is known of the videos of a folder, found out once: looking at a video means reading all of it.

An entry holds for a path, a size and a time of change; so new and changed files alone are looked at, and those that are
no longer there are dropped. There is an index for each way of looking for cuts.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import track

from data_modules.cuts import SIZE, changes, find_cuts
from data_modules.damage import DamagedData
from data_modules.index_file import Entry, load, locked, save
from data_modules.probing import probe
from data_modules.video_file import thumbnails
from data_modules.workers import SteadyDataLoader, now_reading, num_cpus

VERSION = 2  # of what the entries mean
SAVE_SECONDS = 60  # what was found out is saved so often, for the case that the process is killed


def index_videos(folder: Path, files: Sequence[Path], cut_threshold: float | None) -> tuple[list[Entry], set[int]]:
    """An entry for each of `files`, which are in `folder`, and the numbers of those that were looked at now.

    cut_threshold: of `find_cuts`; None: no cuts are looked for. Looks at files in as many processes as there are CPUs,
    with progress on a terminal.
    """
    name = f"videos-{VERSION}" + ("" if cut_threshold is None else f"-cuts-{cut_threshold:g}")
    keys, stamps = [os.path.relpath(file, folder) for file in files], [_stamp(file) for file in files]
    with locked(folder, name) as path:
        known = load(path)
        gone = [key for key in known.keys() - set(keys) if not (folder / key).exists()]
        for key in gone:
            del known[key]
        new = [n for n, key in enumerate(keys) if key not in known or known[key].stamp != stamps[n]]
        saved = time.monotonic()
        try:
            for n, entry in zip(new, _look_at_all([(files[n], stamps[n], cut_threshold) for n in new]), strict=True):
                known[keys[n]] = entry
                if time.monotonic() - saved > SAVE_SECONDS:
                    save(path, known)
                    saved = time.monotonic()
        finally:
            if new or gone:
                save(path, known)
    return [known[key] for key in keys], set(new)


def look_at(path: Path, stamp: tuple[int, int], cut_threshold: float | None) -> Entry:
    """Finds out everything about a file."""
    try:
        video = probe(path)
    except DamagedData as error:
        return Entry(stamp, str(error))
    entry = {
        name: getattr(video, name) for name in ("which", "stream", "times", "height", "width", "timed", "only_pyav")
    }
    if cut_threshold is not None:
        entry["cuts"] = find_cuts(changes(thumbnails(video, SIZE), len(video.times)), cut_threshold)
    return Entry(stamp, **entry)


Task = tuple[Path, tuple[int, int], float | None]  # what `look_at` takes


class _Files:
    """A data set for torch's loader, which gives `Entry`s."""

    def __init__(self, tasks: list[Task]):
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> Entry:
        now_reading(self.tasks[index][0])
        return look_at(*self.tasks[index])


def _look_at_all(tasks: list[Task]) -> Iterator[Entry]:
    """The entries, in the order of the tasks. A file on which a decoder crashes is one that cannot be read."""
    done = 0
    try:
        if tasks:
            found = iter(_loader(tasks, min(len(tasks), num_cpus())))  # forks, before the bar starts a thread
            for entry in track(found, "looking at videos", len(tasks)):
                yield entry
                done += 1
    except RuntimeError:  # torch's, for a worker that died; which file it had, nobody can say
        yield from map(_look_at_alone, tasks[done:])


def _look_at_alone(task: Task) -> Entry:
    """The entry of a file, found out by a process of its own."""
    try:
        return next(iter(_loader([task], 1)))
    except RuntimeError:
        return Entry(task[1], "the decoder crashes")


def _loader(tasks: list[Task], processes: int) -> SteadyDataLoader:
    return SteadyDataLoader(_Files(tasks), num_workers=processes, batch_size=None, collate_fn=_unchanged)


def _unchanged(entry: Entry) -> Entry:
    return entry


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # it has just gone: looking at it will say so
    return status.st_size, status.st_mtime_ns
