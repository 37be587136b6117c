"""LeRobot data sets (Hugging Face) in a local folder: a camera, states, actions and rewards, read in place.

The alignment is that of episode files: the action of a row is taken on seeing its frame. What followed the last row of
an episode is not recorded; its reward is counted with that of the row before. Frames are decoded for each clip, from a
video that several episodes share, or from pictures in the rows.
"""

import sys
from pathlib import Path

import numpy as np

from data_modules.action_ids import ActionIds, StoredNames, listed
from data_modules.formats.decoding import read_frames
from data_modules.formats.index_file import Entry
from data_modules.formats.lerobot_images import RowImages
from data_modules.formats.lerobot_meta import INFO, Episode, Feature, LeRobotMeta, require_pyarrow
from data_modules.formats.lerobot_rows import TIME, Block, Column, RowTable, row_table
from data_modules.formats.video_file import Video
from data_modules.formats.video_index import index_videos
from data_modules.frame_reader import FrameReader, Reading, pieces_of
from data_modules.image_resize import fit_for
from data_modules.recorded_actions import RecordedActions
from genie.common.errors import UserError

ACTION, STATE, REWARD = "action", "observation.state", "next.reward"  # LeRobot's names
MOST_NAMED = 10  # unusable episodes that are named; of the others only their number is reported
OFF = 0.5  # of the time of a frame, by which a row may be beside a frame of its video
OTHER_RATE = 0.1  # share by which the rate of the rows may differ from that of the description


class LeRobotData:
    """LeRobot's data sets, as a `NamedSource`; the keys of the group `data.lerobot`.

    camera: its key, which may lack what is before the last dot; None: the only one. action, state: keys of features;
    "auto": `action` and `observation.state`, where there are such; None: none. tasks: texts; None: episodes of all.
    """

    def __init__(
        self, reading: Reading, camera: str | None, action: str | None, state: str | None, tasks: list[str] | None
    ):
        if reading.in_memory:
            raise UserError("data.in_memory=true is for episode files: `python -m genie.convert` makes one")
        self.reading, self.camera, self.action, self.state, self.tasks = reading, camera, action, state, tasks

    def open_named(self, name: str) -> tuple[FrameReader, dict[str, np.ndarray] | None]:
        """`name`: the folder of a data set, with `meta/info.json`."""
        require_pyarrow()
        meta = LeRobotMeta(Path(name))
        camera = meta.camera(self.camera)
        action = meta.numbers("action", self.action, ACTION)
        state = meta.numbers("state", self.state, STATE)
        if camera is None and state is None:
            raise UserError(f"{name} has no camera and no {STATE}: its features are {listed(meta.features)}")
        episodes = meta.episodes(camera)
        splits = meta.splits(episodes)
        reader = LeRobotReader(meta, camera, action, state, self._of_tasks(name, episodes), self.reading)
        if not splits:
            return reader, None
        reader.splits = {
            split: reader.episodes[np.isin(reader.indices, list(indices))] for split, indices in splits.items()
        }
        return reader, reader.splits

    def more_files(self, root: Path, files: list[Path]) -> list[Path]:
        """All files of the data set."""
        folders = ("meta", "data", "videos")
        return sorted(path for folder in folders for path in (root / folder).rglob("*") if path.is_file())

    def _of_tasks(self, name: str, episodes: list[Episode]) -> list[Episode]:
        if self.tasks is None:
            return episodes
        known = sorted({task for episode in episodes for task in episode.tasks})
        if missing := [task for task in self.tasks if task not in known]:
            raise UserError(f"data.lerobot.tasks has {missing[0]!r}, and the tasks of {name} are {listed(known)}")
        return [episode for episode in episodes if set(episode.tasks) & set(self.tasks)]


class LeRobotReader:
    """A `FrameReader` of the episodes that can be used; each is a recording. Others are reported and left out, or raise
    UserError."""

    image_size: tuple[int, int] | None = None
    fps: float | None
    object_names: list[str] = []
    ids: ActionIds | None = None
    action_size: int | None = None
    action_meanings: list[str] | None = None
    actions: RecordedActions | None = None
    splits: dict[str, np.ndarray]  # only where the data set defines them
    run = 8  # after a seek, a decoder continues cheaply

    def __init__(
        self,
        meta: LeRobotMeta,
        camera: Feature | None,
        action: Feature | None,
        state: Feature | None,
        episodes: list[Episode],
        reading: Reading,
    ):
        self.path, self.fps, self.fit = meta.root, meta.fps, reading.fit
        self.state_size = state.size if state else None
        reward = meta.features.get(REWARD)
        self.stored = _columns(action, state, reward if reward and reward.size == 1 else None)
        files = list(dict.fromkeys(episode.data for episode in episodes))
        self.table: RowTable = row_table(meta.root, files, list(self.stored.values()))
        videos = self._videos(episodes)
        times = self.table.read(TIME, 0, self._rows_of_table()).astype(np.float64)
        usable: list[tuple[Episode, Block, Video | None, np.ndarray]] = []
        problems: list[str] = []
        for episode in episodes:
            found = self._found(episode, videos, times)
            if isinstance(found, str):
                problems.append(f"episode {episode.index}: {found}")
            else:
                usable.append((episode, *found))
        self._report(problems, len(episodes), reading.on_error)
        self.indices = np.array([episode.index for episode, *_ in usable])
        self.tasks = ["; ".join(episode.tasks) for episode, *_ in usable]
        self.places = np.array([block.place for _, block, _, _ in usable])  # first row in the table
        self.videos = [video for _, _, video, _ in usable]
        self.shown = np.concatenate([numbers for *_, numbers in usable]).astype(np.int32)  # of each row, in its video
        self.starts = np.cumsum([0, *(episode.length for episode, *_ in usable)])
        self.num_frames = int(self.starts[-1])
        self.episodes = np.stack([self.starts[:-1], self.starts[1:]], axis=1)
        self.recordings = np.arange(len(usable))
        self.images = None
        if camera is not None and camera.dtype == "image":
            self.images = RowImages(meta.root, camera.key, [(episode.data, block.row) for episode, block, *_ in usable])
        self._set_sizes(camera, reading.image_size)
        self.columns = list(self.stored)
        if action is not None:
            size = action.size if self.stored["actions"].dtype == "f4" else None
            names = StoredNames(action.names if size else None)
            self.actions = RecordedActions(meta.root, self._actions, size, self.episodes, names, reading.actions)
            self.ids, self.action_size, self.action_meanings = self.actions.ids, size, self.actions.names
            if self.ids is not None and reading.actions.none is not None:
                raise UserError("data.actions.none is not for LeRobot's data: each of their rows has an action")

    def _rows_of_table(self) -> int:
        return max((block.place + block.length for block in self.table.blocks.values()), default=0)

    def _videos(self, episodes: list[Episode]) -> dict[str, Entry]:
        """The index entries of all videos."""
        files = list(dict.fromkeys(episode.video for episode in episodes if episode.video is not None))
        entries, _ = index_videos(self.path, [self.path / file for file in files], None) if files else ([], set())
        return dict(zip(files, entries, strict=True))

    def _found(
        self, episode: Episode, videos: dict[str, Entry], times: np.ndarray
    ) -> tuple[Block, Video | None, np.ndarray] | str:
        """The rows of an episode, its video and the numbers of its frames there; or why it cannot be used."""
        data, block = self.path / episode.data, self.table.blocks.get((episode.data, episode.index))
        if episode.data in self.table.problems:
            return f"{data} cannot be read ({self.table.problems[episode.data]})"
        if block is None:
            return f"{data} has no rows of it"
        if block.problem:
            return f"{data}, {block.problem}"
        if block.length != episode.length:
            return f"{data} has {block.length} rows of it, and {self.path / 'meta'} says {episode.length}"
        fps, taken = self.fps or 1, times[block.place : block.place + block.length]
        step = float(np.median(np.diff(taken))) if len(taken) > 1 else 1 / fps
        if abs(step * fps - 1) > OTHER_RATE:
            return f"{data} has a row of it every {step:.3g} seconds, and {self.path / INFO} says {fps:g} a second"
        if episode.video is None:
            return block, None, np.arange(block.length)
        path, entry = self.path / episode.video, videos[episode.video]
        if entry.problem:
            missing = "it is not there" if not path.exists() else entry.problem
            return f"{path} cannot be read ({missing})"
        seconds = episode.start + times[block.place : block.place + block.length]
        numbers = np.searchsorted((entry.times[1:] + entry.times[:-1]) / 2, seconds)  # of the nearest frames
        off = OFF * min(1 / fps, np.median(np.diff(entry.times)) if len(entry.times) > 1 else np.inf)
        wrong = np.abs(entry.times[numbers] - seconds) > off
        wrong[1:] |= np.diff(numbers) < 1
        if wrong.any():
            at = int(np.argmax(wrong))
            return (
                f"{path} has no frame at {seconds[at]:.3f} seconds, for the frame {at} (row {block.row + at} of "
                f"{data}); it has {len(entry.times)}, up to {entry.times[-1]:.3f}"
            )
        return block, entry.video(path), numbers

    def _report(self, problems: list[str], count: int, on_error: str) -> None:
        if not problems:
            return
        if on_error == "raise" or len(problems) == count:
            more = f"; {len(problems)} of {count} episodes in {self.path} cannot be used" if count > 1 else ""
            raise UserError(problems[0] + more)
        for problem in problems[:MOST_NAMED]:
            print(f"left out: {problem}", file=sys.stderr)
        said = f"{self.path}: {len(problems)} of {count} episodes cannot be used and are left out"
        print(said, file=sys.stderr, flush=True)

    def _set_sizes(self, camera: Feature | None, image_size: tuple[int, int]) -> None:
        self.stored_sizes: list[tuple[int, int]] = []
        if camera is not None:
            sizes = {(video.height, video.width) for video in self.videos if video is not None}
            self.stored_sizes = sorted(sizes) if self.images is None else [self.images.size()]
            self.image_size = image_size

    @property
    def action_range(self) -> np.ndarray | None:
        return None if self.actions is None else self.actions.range

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        assert self.image_size is not None  # where there is a camera
        return np.concatenate([self._of_episode(*piece, step) for piece in pieces_of(self.starts, start, stop, step)])

    def _of_episode(self, number: int, low: int, high: int, step: int) -> np.ndarray:
        def fitted(frames: np.ndarray) -> np.ndarray:
            assert self.image_size is not None
            return fit_for(frames.shape[1:3], self.image_size, self.fit)(frames)

        video, first = self.videos[number], int(self.starts[number])
        shown = self.shown[first + low : first + high : step]
        if video is None:
            assert self.images is not None
            return np.concatenate([fitted(picture[None]) for picture in self.images.read(number, shown)])
        return read_frames(video, shown, "auto", fitted)

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        if name == "actions":
            assert self.actions is not None
            return self.actions.read(start, stop)
        return self._stored(name, start, stop)

    def _actions(self, start: int, stop: int) -> np.ndarray:
        return self._stored("actions", start, stop)

    def _stored(self, name: str, start: int, stop: int) -> np.ndarray:
        key, parts = self.stored[name].key, []
        for number, low, high in pieces_of(self.starts, start, stop, 1):
            place, last = int(self.places[number]), int(self.starts[number + 1] - self.starts[number]) - 1
            rows = self.table.read(key, place + low, place + high)
            if name == "rewards":
                if low < last <= high:
                    rows[last - 1 - low] += self.table.read(key, place + last, place + last + 1)[0]
                rows[last - low :] = 0
            parts.append(rows)
        return np.concatenate(parts) if parts else self.table.read(key, 0, 0)


def _columns(action: Feature | None, state: Feature | None, reward: Feature | None) -> dict[str, Column]:
    """What is stored in the table, by the names of a reader's columns. An action of one whole number is an id."""
    found = {}
    if state is not None:
        found["states"] = Column(state.key, "f4", state.size)
    if action is not None:
        is_id = action.size == 1 and np.dtype(action.dtype).kind in "biu"
        found["actions"] = Column(action.key, "i8") if is_id else Column(action.key, "f4", action.size)
    if reward is not None:
        found["rewards"] = Column(reward.key, "f4")
    return found
