"""Index of the videos of a folder, and detection of scene cuts, which no clip crosses.

A cut is a jump: a change from one frame to the next, of pixels or of colours, that stands out from all changes of the
few frames around it. Movement is large in several frames and a flash changes the picture twice, so neither stands out;
noise changes all pixels but no colours. Gradual transitions (fades) are not found.

Inspecting a video means reading all of it, so the results are kept: an entry holds for a path, a size and a
modification time. Only new and changed files are inspected, and entries of deleted files dropped. Each cut threshold
has an index.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from data_modules.formats.decoding import probe
from data_modules.formats.index_file import Entry, load, locked, save, stamp_of
from data_modules.formats.video_file import TarMember, VideoSource, thumbnails
from data_modules.worker_loader import DamagedData, SteadyDataLoader, now_reading, num_cpus

SIZE = 32  # pixels of the thumbnails: of height and width
LEVELS = 4  # of each colour in a histogram
AROUND = 3  # frames before and after that a jump has to stand out from
VERSION = 2  # of the meaning of the entries
IN_TAR = "//"  # in the key of an entry: between the path of a tar and a name in it
SAVE_SECONDS = 60  # between two saves of new entries, in case the process is killed


def changes(thumbnails: Iterable[tuple[int, np.ndarray]], num_frames: int) -> np.ndarray:
    """float32 [N, 2] in [0, 1]: the change of each frame from the one before, of its pixels (mean absolute difference)
    and of its colours (half the sum of the absolute differences of their histograms).

    thumbnails: (number, uint8 [SIZE, SIZE, 3]) of the decodable frames; the others have no change.
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
    """int64 [C]: the numbers of the frames that begin a new scene, from `changes` [N, 2]. threshold: by how much a
    change has to stand out from all around it, in (0, 1)."""
    padded = np.pad(differences, ((AROUND, AROUND), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0)  # [N, 2, window]
    around = np.delete(windows, AROUND, axis=-1).max(-1)
    return np.flatnonzero((differences - around > threshold).any(1))


def scenes(cuts: np.ndarray, num_rows: int) -> np.ndarray:
    """int64 [E, 2]: first and one past the last row of each scene; new ones begin at the rows `cuts`."""
    inner = np.unique(cuts[(cuts > 0) & (cuts < num_rows)])
    bounds = np.concatenate([[0], inner, [num_rows]]).astype(np.int64)
    return np.stack([bounds[:-1], bounds[1:]], axis=1)


def _histogram(thumbnail: np.ndarray) -> np.ndarray:
    """float [LEVELS ** 3]: the share of pixels of each colour."""
    levels = thumbnail.reshape(-1, 3) // (256 // LEVELS)
    codes = (levels[:, 0].astype(np.intp) * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]
    return np.bincount(codes, minlength=LEVELS**3) / len(codes)


def index_videos(
    folder: Path, files: Sequence[VideoSource], cut_threshold: float | None
) -> tuple[list[Entry], set[int]]:
    """An entry for each of `files`, which are in `folder` or in a tar there, and the numbers of those that were
    inspected now.

    cut_threshold: of `find_cuts`; None: cuts are not detected. Inspects files in as many processes as there are CPUs,
    with a progress bar on a terminal.
    """
    name = f"videos-{VERSION}" + ("" if cut_threshold is None else f"-cuts-{cut_threshold:g}")
    keys, stamps = [_key(folder, file) for file in files], [_stamp(file) for file in files]
    with locked(folder, name) as path:
        known = load(path)
        gone = [key for key in known.keys() - set(keys) if not (folder / key.split(IN_TAR)[0]).exists()]
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


def _key(folder: Path, file: VideoSource) -> str:
    if isinstance(file, TarMember):
        return f"{os.path.relpath(file.tar, folder)}{IN_TAR}{file.name}"
    return os.path.relpath(file, folder)


def _stamp(file: VideoSource) -> tuple[int, int]:
    return stamp_of(file.tar if isinstance(file, TarMember) else file)


def look_at(path: VideoSource, stamp: tuple[int, int], cut_threshold: float | None) -> Entry:
    """Inspects a file."""
    try:
        video = probe(path)
    except DamagedData as error:
        return Entry(stamp, str(error))
    names = ("which", "stream", "times", "height", "width", "timed", "only_pyav")
    entry = {name: getattr(video, name) for name in names}
    if cut_threshold is not None:
        entry["cuts"] = find_cuts(changes(thumbnails(video, SIZE), len(video.times)), cut_threshold)
    return Entry(stamp, **entry)


Task = tuple[VideoSource, tuple[int, int], float | None]  # what `look_at` takes


class _Tasks(list):
    """A data set for torch's loader, whose items are `Entry`s."""

    def __getitem__(self, index: int) -> Entry:  # pyright: ignore[reportIncompatibleMethodOverride]
        task = super().__getitem__(index)
        now_reading(task[0])
        return look_at(*task)


def _look_at_all(tasks: list[Task]) -> Iterator[Entry]:
    """The entries, in the order of the tasks. A file on which a decoder crashes is one that cannot be read."""
    done = 0
    try:
        if tasks:
            found = iter(_loader(tasks, min(len(tasks), num_cpus())))  # forks, before the bar starts a thread
            for entry in track(found, "looking at videos", len(tasks)):
                yield entry
                done += 1
    except RuntimeError:  # torch's, for a dead worker; it does not say which file the worker had
        yield from map(_look_at_alone, tasks[done:])


def _look_at_alone(task: Task) -> Entry:
    """The entry of a file, inspected by a process of its own."""
    try:
        return next(iter(_loader([task], 1)))
    except RuntimeError:
        return Entry(task[1], "the decoder crashes")


def _loader(tasks: list[Task], processes: int) -> SteadyDataLoader:
    return SteadyDataLoader(_Tasks(tasks), num_workers=processes, batch_size=None)
