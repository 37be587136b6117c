"""The episode file: one HDF5 file with the frames of many episodes, one after the other.

    frames        uint8   [N, H, W, 3]   chunked by 16 frames
    actions       int64   [N]            optional; ids into the attribute `action_meanings`
    rewards       float32 [N]            optional
    terminals     bool    [N]            optional; the environment ended the episode
    truncations   bool    [N]            optional; a limit of time or length cut the episode
    objects       float32 [N, O, 2]      optional; (x, y) of the centre in pixels of the stored frame; the top
                                         left pixel has its centre at (0, 0); NaN when absent
    episode_ends  int64   [E]            one past the last frame of each episode, the last one is N
    attributes    format_version, environment, fps, action_meanings, object_names

`actions[t]` is taken on seeing frame t and leads to frame t+1; `rewards[t]`, `terminals[t]` and
`truncations[t]` are its result. An episode of n decisions has n+1 frames: its last frame is the final
observation, on which nothing was decided, and its row holds action 0, reward 0 and two times false. The
terminal is thus in the last row but one.
"""

import contextlib
import os
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
    UserError where nothing can be written.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: tuple[int, int],
        environment: str,
        fps: float,
        action_meanings: list[str],
        object_names: list[str],
    ):
        self.path = Path(path)
        self.image_size = tuple(image_size)
        self.object_names = list(object_names)
        self.attributes = {
            "format_version": FORMAT_VERSION,
            "environment": environment,
            "fps": float(fps),
            "action_meanings": list(action_meanings),
        }
        self.num_frames = 0
        self.episode_ends: list[int] = []

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
        for name, dtype in COLUMNS.items():
            self._create(name, (0,), dtype, (4096,))
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

    def end_episode(self) -> None:
        self.episode_ends.append(self.num_frames)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self.file["episode_ends"] = np.asarray(self.episode_ends, dtype=np.int64)
            self.file.close()
            if kind is None:
                sync(self.temporary)
                os.replace(self.temporary, self.path)
                sync(self.path.parent)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self.temporary.unlink()
