"""The episode file: one HDF5 file with the frames of many episodes, one after the other.

    frames        uint8   [N, H, W, 3]   chunked by 16 frames
    actions       int64   [N]            optional; ids into the attribute `action_meanings`
    rewards       float32 [N]            optional
    terminals     bool    [N]            optional; the environment ended the episode
    truncations   bool    [N]            optional; a limit of time or length cut the episode
    objects       float32 [N, O, 2]      optional; (x, y) of the centre in pixels of the stored frame; the top
                                         left pixel has its centre at (0, 0); NaN when absent
    episode_ends  int64   [E]            one past the last frame of each episode, the last one is N; without it all is
                                         one episode
    recordings    int64   [E]            optional; the recording that each episode was cut out of, in order; none is on
                                         two sides of a split; without it each episode is one
    attributes    format_version, environment, fps, action_meanings, object_names; all optional

`actions[t]` is taken on seeing frame t and leads to frame t+1; `rewards[t]`, `terminals[t]` and
`truncations[t]` are its result. An episode of n decisions has n+1 frames: its last frame is the final
observation, on which nothing was decided, and its row holds action 0, reward 0 and two times false. The
terminal is thus in the last row but one.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from genie.errors import UserError
from genie.files import sync

FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")
CHUNK_FRAMES = 16  # about one clip: a random clip then touches two chunks
COLUMNS = {"actions": np.int64, "rewards": np.float32, "terminals": np.bool_, "truncations": np.bool_}


class EpisodeWriter:
    """Context manager that writes an episode file: complete at `path`, or not there at all.

    Writes to a hidden temporary name in the same folder, synchronises and renames when the block ends well;
    an exception removes the temporary file, a killed process leaves it to the next recording to remove.
    UserError where nothing can be written. `environment`, `fps`, `action_meanings`: None where they are not known.
    `columns`: of `COLUMNS`, those that the file has.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: tuple[int, int],
        environment: str | None,
        fps: float | None,
        action_meanings: list[str] | None,
        object_names: list[str],
        columns: Iterable[str] = tuple(COLUMNS),
    ):
        self.path = Path(path)
        self.image_size = tuple(image_size)
        self.object_names, self.columns = list(object_names), list(columns)
        attributes = {
            "format_version": FORMAT_VERSION,
            "environment": environment,
            "fps": None if fps is None else float(fps),
            "action_meanings": None if action_meanings is None else list(action_meanings),
        }
        self.attributes = {name: value for name, value in attributes.items() if value is not None}
        self.num_frames = 0
        self.episode_ends: list[int] = []
        self.recordings: list[int] = []

    def __enter__(self) -> "EpisodeWriter":
        self.temporary = self.path.with_name(f".{self.path.name}.tmp-{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self.file = h5py.File(self.temporary, "w")
        except OSError as error:
            raise UserError(f"cannot write into {self.path.parent}: {error.strerror or error}") from None
        for name, value in self.attributes.items():
            self.file.attrs[name] = value
        shape = (0, *self.image_size, 3)
        self._create("frames", shape, np.uint8, (CHUNK_FRAMES, *shape[1:]))
        for name in self.columns:
            self._create(name, (0,), COLUMNS[name], (4096,))
        if self.object_names:
            count = len(self.object_names)
            self._create("objects", (0, count, 2), np.float32, (4096, count, 2))
            self.file.attrs["object_names"] = self.object_names
        return self

    def _remove_abandoned(self) -> None:
        """Deletes temporary files whose process is gone: a killed recording leaves hundreds of MB."""
        for path in self.path.parent.glob(f".{self.path.name}.tmp-*"):
            process = path.name.rpartition("-")[2]
            try:
                os.kill(int(process), 0)  # signal 0 only asks whether it is there
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            except (PermissionError, ValueError):
                continue  # somebody else's

    def _create(self, name: str, shape: tuple[int, ...], dtype, chunks: tuple[int, ...]) -> None:
        self.file.create_dataset(name, shape, dtype, maxshape=(None, *shape[1:]), chunks=chunks)

    def append(self, **columns: np.ndarray) -> None:
        """Adds n frames to the current episode; every column of the file, [n, ...]."""
        count = len(columns["frames"])
        for name, values in columns.items():
            dataset = self.file[name]
            dataset.resize(self.num_frames + count, axis=0)
            dataset[self.num_frames :] = values
        self.num_frames += count

    def end_episode(self, recording: int | None = None) -> None:
        """Ends the current episode; `recording`: the number of that which it was cut out of, None: it is one itself."""
        self.episode_ends.append(self.num_frames)
        if recording is not None:
            self.recordings.append(recording)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self.file["episode_ends"] = np.asarray(self.episode_ends, dtype=np.int64)
                if self.recordings:
                    self.file["recordings"] = np.asarray(self.recordings, dtype=np.int64)
            self.file.close()
            if kind is None:
                sync(self.temporary)
                os.replace(self.temporary, self.path)
                sync(self.path.parent)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.temporary.unlink()
