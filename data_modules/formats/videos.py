"""Folders of videos as data, resampled in time and space while they are read.

Row k of a video is the frame that is visible k / fps seconds after its first frame, at any constant or variable rate of
the video. Scenes are the episodes, where cuts are detected; files are the recordings.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np

from data_modules.action_ids import ActionIds
from data_modules.formats.decoding import read_frames
from data_modules.formats.index_file import Entry
from data_modules.formats.video_file import Video
from data_modules.formats.video_index import index_videos, scenes
from data_modules.frame_reader import Reading
from data_modules.image_resize import fit_for
from genie.common.errors import UserError

# webm rounds the times of its frames to thousandths of a second, GIF to hundredths. Rows are therefore taken so many
# seconds late: otherwise a video that has the wanted rate would repeat one frame and skip the next.
LATE = 0.005


class Videos:
    """The `Source` of video files; the keys of the group `data.videos`. decoder: a key of `DECODERS`. cuts: "none" or
    "detect", with `cut_threshold` of `find_cuts`. Raises UserError for settings that do not go together."""

    what, suffixes = "video", (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".gif")

    def __init__(self, reading: Reading, decoder: str, cuts: str, cut_threshold: float):
        if decoder == "decord" and importlib.util.find_spec("decord") is None:
            raise UserError(
                "data.videos.decoder=decord needs decord: `pip install decord`, or data.videos.decoder=auto"
            )
        if reading.in_memory:
            raise UserError("data.in_memory=true is for episode files: `python -m genie.convert` makes one of videos")
        if reading.fps is None:
            raise UserError("videos have rates of their own: give data.fps=, to which they are resampled")
        self.reading, self.decoder = reading, decoder
        self.cut_threshold = cut_threshold if cuts == "detect" else None

    def open(self, path: Path, files: list[Path]) -> "VideoReader":
        folder = path if path.is_dir() else path.parent
        entries, new = index_videos(folder, files, self.cut_threshold)
        problems = {n: entry.problem for n, entry in enumerate(entries) if entry.problem}
        damaged = {n: f"{files[n]} cannot be read ({problem})" for n, problem in problems.items()}
        if damaged:
            self._report_damaged(path, damaged, len(files), new)
        usable = [(files[n], entry) for n, entry in enumerate(entries) if n not in damaged]
        for number in sorted(new):
            if entries[number].which:
                print(f"{files[number]}: {entries[number].which}", file=sys.stderr, flush=True)
        if self.decoder == "decord":
            self._report_only_pyav(path, usable)
        return VideoReader(path, usable, self.reading, self.decoder)

    def _report_only_pyav(self, path: Path, usable: list[tuple[Path, Entry]]) -> None:
        """Prints which files PyAV reads though decord was chosen, and why."""
        names: dict[str, list[str]] = {}
        for file, entry in usable:
            if entry.only_pyav:
                names.setdefault(entry.only_pyav, []).append(file.name)
        if not names:
            return
        count = sum(map(len, names.values()))
        why = "; ".join(f"{reason}: {_some(files)}" for reason, files in names.items())
        said = f"data.videos.decoder=decord: of {len(usable)} videos in {path}, PyAV reads {count}, of which decord"
        print(f"{said} would give wrong frames ({why})", file=sys.stderr, flush=True)

    def _report_damaged(self, path: Path, damaged: dict[int, str], count: int, new: set[int]) -> None:
        """Prints each newly found damaged file, and their number. Raises UserError where all are damaged or on_error is
        "raise"."""
        many = f"{len(damaged)} of {count} videos in {path} cannot be read"
        if len(damaged) == count or self.reading.on_error == "raise":
            first = next(iter(damaged.values()))
            raise UserError(f"{first}; {many}" if count > 1 else first)
        for number in sorted(damaged.keys() & new):
            print(damaged[number], file=sys.stderr)
        print(f"{many} and are left out", file=sys.stderr, flush=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


class VideoReader:
    """A `FrameReader` of videos, one after the other. Frames are decoded on each read."""

    image_size: tuple[int, int] | None
    fps: float | None
    columns: list[str] = []
    object_names: list[str] = []
    action_meanings: list[str] | None = None
    state_size: int | None = None
    action_size: int | None = None
    ids: ActionIds | None = None
    run = 8  # after a seek, a decoder continues cheaply

    def __init__(self, path: Path, usable: list[tuple[Path, Entry]], reading: Reading, decoder: str):
        self.path, self.image_size, self.fps = path, reading.image_size, reading.fps
        self.fit, self.decoder = reading.fit, decoder
        self.videos = [entry.video(file) for file, entry in usable]
        rows = [self._row(video, video.times[-1]) + 1 for video in self.videos]
        self.starts = np.cumsum([0, *rows], dtype=np.int64)
        self.num_frames = int(self.starts[-1])
        parts = [
            scenes(self._first_rows(video, entry.cuts), count)
            for video, (_, entry), count in zip(self.videos, usable, rows, strict=True)
        ]
        self.episodes = np.concatenate([part + start for part, start in zip(parts, self.starts, strict=False)])
        self.stored_sizes = sorted({(video.height, video.width) for video in self.videos})
        self.recordings = np.repeat(np.arange(len(parts)), [len(part) for part in parts])

    def _row(self, video: Video, time: float) -> int:
        return int(np.floor((time - video.times[0] + LATE) * self.fps))

    def _first_rows(self, video: Video, frames: np.ndarray) -> np.ndarray:
        """The first row at or after the beginning of each of the frames."""
        return np.ceil((video.times[frames] - video.times[0] - LATE) * self.fps).astype(np.int64)

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        rows = np.arange(start, stop, step)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        parts = [self._of_video(number, rows[numbers == number]) for number in np.unique(numbers)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _of_video(self, number: int, rows: np.ndarray) -> np.ndarray:
        video = self.videos[number]
        seconds = video.times[0] + (rows - self.starts[number]) / self.fps + LATE
        shown, places = np.unique(np.searchsorted(video.times, seconds, side="right") - 1, return_inverse=True)

        def fitted(frames: np.ndarray) -> np.ndarray:  # the size of a video may change on the way, as in a call
            return fit_for(frames.shape[1:3], self.image_size, self.fit)(frames)

        return read_frames(video, shown, self.decoder, fitted)[places]

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        raise KeyError(name)  # a video has only frames
