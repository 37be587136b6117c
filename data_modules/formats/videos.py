"""Folders of videos as data, resampled in time and space while they are read.

Row k of a video is the frame that is visible k / fps seconds after its first frame, at any constant or variable rate of
the video, and the action that is recorded for this frame, or at this time. Scenes are the episodes, where cuts are
detected; files are the recordings.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from data_modules.action_ids import ActionIds
from data_modules.formats.action_log import ActionLog, BadActions, beside, candidates, read_log
from data_modules.formats.decoding import read_frames
from data_modules.formats.video_actions import VideoActions, recorded_actions
from data_modules.formats.video_file import Video, VideoSource
from data_modules.formats.video_index import index_videos, scenes
from data_modules.frame_reader import Reading
from data_modules.image_resize import fit_for
from genie.common.errors import UserError

# webm rounds the times of its frames to thousandths of a second, GIF to hundredths. Rows are therefore taken so many
# seconds late: otherwise a video that has the wanted rate would repeat one frame and skip the next.
LATE = 0.005
VIDEO_SUFFIXES: tuple[str, ...] = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".gif")


class Videos:
    """The `Source` of video files; the keys of the group `data.videos`. decoder: a key of `DECODERS`. cuts: "none" or
    "detect", with `cut_threshold` of `find_cuts`. actions: "auto", those in files beside the videos (`beside`), or
    "none". Raises UserError for settings that do not go together."""

    what = "video"
    suffixes: tuple[str, ...] = VIDEO_SUFFIXES

    def __init__(self, reading: Reading, decoder: str, cuts: str, cut_threshold: float, actions: str = "auto"):
        if decoder == "decord" and importlib.util.find_spec("decord") is None:
            raise UserError(
                "data.videos.decoder=decord needs decord: pip install 'genie-world[decord]', or give "
                "data.videos.decoder=auto"
            )
        if reading.in_memory:
            raise UserError("data.in_memory=true is for episode files: `python -m genie.convert` makes one of videos")
        if reading.fps is None:
            raise UserError("videos have rates of their own: give data.fps=, to which they are resampled")
        self.reading, self.decoder, self.with_actions = reading, decoder, actions != "none"
        self.cut_threshold = cut_threshold if cuts == "detect" else None

    def open(self, path: Path, files: list[Path]) -> "VideoReader":
        folder = path if path.is_dir() else path.parent
        videos_in = cache(lambda place: sum(other.suffix.lower() in VIDEO_SUFFIXES for other in place.iterdir()))
        return self.read(path, folder, {file: self._log(file, lambda place: videos_in(place) == 1) for file in files})

    def more_files(self, root: Path, files: list[Path]) -> list[Path]:
        """The files with actions beside the videos, one of each."""
        return [path for file in files for path in candidates(file) if self.with_actions and path.is_file()]

    def _log(self, file: Path, alone: Callable[[Path], bool]) -> ActionLog | str | None:
        """The actions beside a video; the problem, where they cannot be read; None where there are none. alone(folder):
        whether there is only one video in it."""
        try:
            found = beside(file, alone) if self.with_actions else None
            return found and read_log(found.name, str(found), found.read_bytes())
        except BadActions as error:
            return str(error)
        except OSError as error:
            return f"cannot read the actions of {file}: {error.strerror or error}"

    def read(self, path: Path, folder: Path, videos: Mapping[VideoSource, ActionLog | str | None]) -> "VideoReader":
        """One reader of videos in `folder`, named `path` in messages. videos: the actions of each, or the problem with
        them. Videos that cannot be used are reported and left out. Raises UserError where none is left."""
        files = list(videos)
        entries, new = index_videos(folder, files, self.cut_threshold)
        usable: list[UsableVideo] = []
        damaged: dict[int, str] = {}
        for number, (file, entry) in enumerate(zip(files, entries, strict=True)):
            log = videos[file]
            if entry.problem:
                damaged[number] = f"{file} cannot be read ({entry.problem})"
            elif isinstance(log, str):
                damaged[number] = log
            else:
                try:
                    usable.append(UsableVideo(entry.video(file), entry.cuts, self._actions(entry.video(file), log)))
                except BadActions as error:
                    damaged[number] = str(error)
        if damaged:
            said = damaged.keys() - {number for number in damaged.keys() - new if entries[number].problem}
            self._report_damaged(path, damaged, len(files), said)
        for number in sorted(new):
            if entries[number].which:
                print(f"{files[number]}: {entries[number].which}", file=sys.stderr, flush=True)
        usable = self._of_one_kind(path, usable)
        if self.decoder == "decord":
            self._report_only_pyav(path, usable)
        return VideoReader(path, usable, self.reading, self.decoder)

    def _actions(self, video: Video, log: ActionLog | None) -> VideoActions | None:
        """The actions of the rows of a video. Raises BadActions where they are not those of the video."""
        if log is None:
            return None
        assert self.reading.fps is not None  # checked above
        rows = np.arange(num_rows(video, self.reading.fps))
        seconds, end = rows / self.reading.fps, float(video.times[-1] - video.times[0])
        shown = shown_at(video, seconds)
        return VideoActions(log, log.numbers_of_rows(shown, seconds, len(video.times), end))

    def _of_one_kind(self, path: Path, usable: "list[UsableVideo]") -> "list[UsableVideo]":
        """The videos with actions, where some have actions. The others are reported, or raise UserError."""
        without = [one.video.path for one in usable if one.actions is None]
        if not without or len(without) == len(usable):
            return usable
        said = f"{len(without)} of {len(usable)} videos in {path} have no actions beside them (the first: {without[0]})"
        way = "data.videos.actions=none reads all of them, without actions"
        if self.reading.on_error == "raise":
            raise UserError(f"{said}: {way}")
        print(f"{said} and are left out: {way}", file=sys.stderr, flush=True)
        return [one for one in usable if one.actions is not None]

    def _report_only_pyav(self, path: Path, usable: "list[UsableVideo]") -> None:
        """Prints which files PyAV reads though decord was chosen, and why."""
        names: dict[str, list[str]] = {}
        for video in (one.video for one in usable):
            if video.only_pyav:
                names.setdefault(video.only_pyav, []).append(video.path.name)
        if not names:
            return
        count = sum(map(len, names.values()))
        why = "; ".join(f"{reason}: {_some(files)}" for reason, files in names.items())
        said = f"data.videos.decoder=decord: of {len(usable)} videos in {path}, PyAV reads {count}, of which decord"
        print(f"{said} would give wrong frames ({why})", file=sys.stderr, flush=True)

    def _report_damaged(self, path: Path, damaged: dict[int, str], count: int, said: set[int]) -> None:
        """Prints the damaged files in `said`, and the number of all. Raises UserError where all are damaged or on_error
        is "raise"."""
        many = f"{len(damaged)} of {count} videos in {path} cannot be read"
        if len(damaged) == count or self.reading.on_error == "raise":
            first = next(iter(damaged.values()))
            raise UserError(f"{first}; {many}" if count > 1 else first)
        for number in sorted(said):
            print(damaged[number], file=sys.stderr)
        print(f"{many} and are left out", file=sys.stderr, flush=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@dataclass(frozen=True)
class UsableVideo:
    """cuts: numbers of the frames that begin a new scene. actions: of its rows, None where none are recorded."""

    video: Video
    cuts: np.ndarray
    actions: VideoActions | None


def num_rows(video: Video, fps: float) -> int:
    """The rows of a video at a rate."""
    return int(np.floor((video.times[-1] - video.times[0] + LATE) * fps)) + 1


def shown_at(video: Video, seconds: np.ndarray) -> np.ndarray:
    """The numbers of the frames that are visible at times after the first frame."""
    return np.searchsorted(video.times, video.times[0] + seconds + LATE, side="right") - 1


class VideoReader:
    """A `FrameReader` of videos, one after the other. Frames are decoded on each read."""

    image_size: tuple[int, int] | None
    fps: float | None
    object_names: list[str] = []
    state_size: int | None = None
    run = 8  # after a seek, a decoder continues cheaply

    def __init__(self, path: Path, usable: list[UsableVideo], reading: Reading, decoder: str):
        self.path, self.image_size, self.fps = path, reading.image_size, reading.fps
        self.fit, self.decoder = reading.fit, decoder
        assert self.fps is not None  # checked by `Videos`
        self.videos = [one.video for one in usable]
        rows = [num_rows(video, self.fps) for video in self.videos]
        self.starts = np.cumsum([0, *rows], dtype=np.int64)
        self.num_frames = int(self.starts[-1])
        parts = [scenes(self._first_rows(one.video, one.cuts), count) for one, count in zip(usable, rows, strict=True)]
        self.episodes = np.concatenate([part + start for part, start in zip(parts, self.starts, strict=False)])
        self.stored_sizes = sorted({(video.height, video.width) for video in self.videos})
        self.recordings = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.columns: list[str] = []
        self.action_meanings: list[str] | None = None
        self.action_size: int | None = None
        self.ids: ActionIds | None = None
        found = [one.actions for one in usable if one.actions is not None]
        self.actions = recorded_actions(path, found, self.episodes, reading.actions) if found else None
        if self.actions is not None:
            self.columns, self.action_meanings = ["actions"], self.actions.names
            self.action_size, self.ids = self.actions.size, self.actions.ids
            self.episodes, self.recordings = self.actions.without_unknown(self.episodes, self.recordings)

    def _first_rows(self, video: Video, frames: np.ndarray) -> np.ndarray:
        """The first row at or after the beginning of each of the frames."""
        return np.ceil((video.times[frames] - video.times[0] - LATE) * self.fps).astype(np.int64)

    @property
    def action_range(self) -> np.ndarray | None:
        return None if self.actions is None else self.actions.range

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        rows = np.arange(start, stop, step)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        parts = [self._of_video(number, rows[numbers == number]) for number in np.unique(numbers)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _of_video(self, number: int, rows: np.ndarray) -> np.ndarray:
        video = self.videos[number]
        shown, places = np.unique(shown_at(video, (rows - self.starts[number]) / self.fps), return_inverse=True)

        def fitted(frames: np.ndarray) -> np.ndarray:  # the size of a video may change on the way, as in a call
            return fit_for(frames.shape[1:3], self.image_size, self.fit)(frames)

        return read_frames(video, shown, self.decoder, fitted)[places]

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        if name != "actions" or self.actions is None:
            raise KeyError(name)
        return self.actions.read(start, stop)
