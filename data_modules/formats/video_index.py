"""Index of videos, and scene cuts.

Where a video changes from one scene to the next, so that no clip goes across (`data.videos.cuts=detect`).

A cut is a jump: a change from one frame to the next, of pixels or of colours, that stands out from all changes of the
few frames around it. Movement is large in several frames and a flash changes the picture twice, so neither stands out;
noise changes all pixels but no colours. What goes over slowly (a fade) is not found.

What is known of the videos of a folder, found out once: looking at a video means reading all of it.

An entry holds for a path, a size and a time of change; so new and changed files alone are looked at, and those that are
no longer there are dropped. There is an index for each way of looking for cuts.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from data_modules.formats.decoding import probe
from data_modules.formats.index_file import Entry, load, locked, save
from data_modules.formats.video_file import thumbnails
from data_modules.worker_loader import DamagedData, SteadyDataLoader, now_reading, num_cpus

SIZE = 32  # pixels of the thumbnails: of height and width
LEVELS = 4  # of each colour in a histogram
AROUND = 3  # frames before and after that a jump has to stand out from


def changes(thumbnails: Iterable[tuple[int, np.ndarray]], num_frames: int) -> np.ndarray:
    """float32 [N, 2] in [0, 1]: how much each frame differs from the one before, in its pixels (mean absolute
    difference) and in its colours (half the sum of the differences of their histograms).

    thumbnails: (number, uint8 [SIZE, SIZE, 3]) of the frames that there are; the others differ by nothing.
    """
    found = np.zeros((num_frames, 2), dtype=np.float32)
    before: tuple[np.ndarray, np.ndarray] | None = None
    for number, thumbnail in thumbnails:
        pixels, colours = thumbnail.astype(np.int16), _histogram(thumbnail)
        if before is not None and 0 <= number < num_frames:
            found[number] = np.abs(pixels - before[0]).mean() / 255, np.abs(colours - before[1]).sum() / 2
        before = pixels, colours
    return found


def find_cuts(differences: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [C]: the numbers of the frames that begin a new scene, of `changes` [N, 2].

    threshold: by how much a change has to stand out from all around it, in (0, 1).
    """
    padded = np.pad(differences, ((AROUND, AROUND), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0)  # [N, 2, window]
    around = np.delete(windows, AROUND, axis=-1).max(-1)
    return np.flatnonzero((differences - around > threshold).any(1))


def scenes(cuts: np.ndarray, num_rows: int) -> np.ndarray:
    """int64 [E, 2]: first and one past the last row of each scene, where new ones begin at the rows `cuts`."""
    inner = np.unique(cuts[(cuts > 0) & (cuts < num_rows)])
    bounds = np.concatenate([[0], inner, [num_rows]]).astype(np.int64)
    return np.stack([bounds[:-1], bounds[1:]], axis=1)


def _histogram(thumbnail: np.ndarray) -> np.ndarray:
    """float [LEVELS ** 3], the share of pixels of each colour."""
    levels = thumbnail.reshape(-1, 3) // (256 // LEVELS)
    codes = (levels[:, 0].astype(np.intp) * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]
    return np.bincount(codes, minlength=LEVELS**3) / len(codes)


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
