"""Episode files: the format, the writer, and the origin of recorded episodes for replays.

An episode file is one HDF5 file with the frames, or the states, of many episodes, one after the other.

    frames        uint8   [N, H, W, 3]   chunked by 16 frames; optional where there are states
    states        float32 [N, n]         optional; observations that are no pictures
    actions       int64   [N]            optional; ids into the attribute `action_meanings`
               or float32 [N, A]         numbers in [-1, 1], each with a name in `action_meanings`
    rewards       float32 [N]            optional
    terminals     bool    [N]            optional; the environment ended the episode
    truncations   bool    [N]            optional; a limit of time or length ended the episode
    objects       float32 [N, O, 2]      optional; (x, y) of the centre in pixels of the stored frame; the top
                                         left pixel has its centre at (0, 0); NaN when absent
    episode_ends  int64   [E]            one past the last frame of each episode, the last one is N; without it all is
                                         one episode
    recordings    int64   [E]            optional; the recording that each episode was cut out of, in order; none is in
                                         two splits; without it each episode is one
    seeds         int64   [E]            optional; of the environment's resets
    hashes        bytes   [E]            optional; `Fingerprint` of each episode's frames or states
    attributes    format_version, environment, fps, action_meanings, object_names, recorder; all optional

`actions[t]` is taken on seeing frame t and leads to frame t+1; `rewards[t]`, `terminals[t]` and `truncations[t]` are
its result. An episode of n decisions has n+1 frames: its last frame is the final observation, on which nothing was
decided, and its row holds action 0, reward 0 and twice false. The terminal is thus in the last row but one.

The format's version is 1 where frames and ids of actions suffice to read a file, and 2 with states or continuous
actions.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from data_modules.formats.episode_header import FORMAT_VERSION, dataset, opened
from genie.common.errors import UserError
from genie.common.files import sync

HASH_BYTES = 16
SPLITS = ("train", "val", "test")
CHUNK_FRAMES = 16  # about one clip: a random clip then touches two chunks
CHUNK_ROWS = 4096  # of all other columns
COLUMNS = {"actions": np.int64, "rewards": np.float32, "terminals": np.bool_, "truncations": np.bool_}


class Fingerprint:
    """BLAKE2b of the rows of an episode: the bytes of uint8 frames, or of little-endian float32 states."""

    def __init__(self):
        self._hash = hashlib.blake2b(digest_size=HASH_BYTES)

    def add(self, rows: np.ndarray) -> None:
        """Adds the next rows [n, ...]; in how many pieces they come makes no difference."""
        dtype = np.uint8 if rows.dtype == np.uint8 else np.dtype("<f4")
        self._hash.update(np.ascontiguousarray(rows, dtype).tobytes())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Origin:
    """How a file was recorded. settings: of the group `data.recorder`, those that the environment is opened with.
    seeds: int64 [E]. hashes: one for each episode."""

    settings: dict[str, Any]
    seeds: np.ndarray
    hashes: list[str]


def read_origin(path: Path) -> Origin | None:
    """How an episode file was recorded; None where that is not stored. Raises UserError where it cannot be read."""
    with opened(path) as file:
        seeds, hashes = dataset(path, file, "seeds"), dataset(path, file, "hashes")
        if seeds is None or hashes is None or "recorder" not in file.attrs:
            return None
        try:
            settings = json.loads(cast(str, file.attrs["recorder"]))
        except (TypeError, ValueError):
            settings = None
        if not isinstance(settings, dict):
            raise UserError(f"the attribute recorder of {path} is damaged: record it again")
        return Origin(settings, seeds[:], [text.decode() for text in hashes[:]])


class EpisodeWriter:
    """Context manager that writes an episode file: complete at `path`, or not there at all.

    Writes to a hidden temporary name in the same folder, synchronises and renames when the block ends well;
    an exception removes the temporary file, that of a killed process is removed by the next recording.
    UserError where nothing can be written. `image_size`: None for a file without frames. `environment`, `fps`,
    `action_meanings`: None where unknown. `columns`: those of `COLUMNS` that the file has. `state_size`,
    `action_size`: the numbers of a state and of a continuous action; None: no states, and actions are ids. `recorder`:
    the settings of a recording, which then also has seeds and hashes.
    """

    def __init__(
        self,
        path: str | Path,
        image_size: tuple[int, int] | None,
        environment: str | None,
        fps: float | None,
        action_meanings: list[str] | None,
        object_names: list[str],
        columns: Iterable[str] = tuple(COLUMNS),
        state_size: int | None = None,
        action_size: int | None = None,
        recorder: dict[str, Any] | None = None,
    ):
        self.path, self.image_size = Path(path), image_size
        self.object_names, self.columns = list(object_names), list(columns)
        self.state_size, self.action_size = state_size, action_size
        attributes = {
            "format_version": 1 if state_size is None and action_size is None else FORMAT_VERSION,
            "environment": environment,
            "fps": None if fps is None else float(fps),
            "action_meanings": None if action_meanings is None else list(action_meanings),
            "recorder": None if recorder is None else json.dumps(recorder),
        }
        self.attributes = {name: value for name, value in attributes.items() if value is not None}
        self.num_frames = 0
        self.episode_ends, self.recordings, self.seeds = [], [], []  # int of each episode
        self.hashes: list[str] = []
        self.fingerprint = None if recorder is None else Fingerprint()  # of the current episode

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
        if self.image_size is not None:
            self._create("frames", (*self.image_size, 3), np.uint8, CHUNK_FRAMES)
        if self.state_size is not None:
            self._create("states", (self.state_size,), np.float32, CHUNK_ROWS)
        for name in self.columns:
            shape, dtype = (), COLUMNS[name]
            if name == "actions" and self.action_size is not None:
                shape, dtype = (self.action_size,), np.float32
            self._create(name, shape, dtype, CHUNK_ROWS)
        if self.object_names:
            self._create("objects", (len(self.object_names), 2), np.float32, CHUNK_ROWS)
            self.file.attrs["object_names"] = self.object_names
        return self

    def _remove_abandoned(self) -> None:
        """Deletes temporary files whose process has ended: a killed recording leaves hundreds of MB."""
        for path in self.path.parent.glob(f".{self.path.name}.tmp-*"):
            process = path.name.rpartition("-")[2]
            try:
                os.kill(int(process), 0)  # signal 0 only checks that it exists
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            except (PermissionError, ValueError):
                continue  # another user's

    def _create(self, name: str, shape: tuple[int, ...], dtype, rows: int) -> None:
        self.file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape))

    def append(self, **columns: np.ndarray) -> None:
        """Adds n rows of every column of the file, [n, ...], to the current episode."""
        observed = columns["states" if self.image_size is None else "frames"]
        count = len(observed)
        for name, values in columns.items():
            dataset = cast(h5py.Dataset, self.file[name])
            dataset.resize(self.num_frames + count, axis=0)
            dataset[self.num_frames :] = values
        self.num_frames += count
        if self.fingerprint is not None:
            self.fingerprint.add(observed)

    def end_episode(self, recording: int | None = None, seed: int | None = None) -> None:
        """Ends the current episode; `recording`: the number of the recording it was cut out of, None: it is one itself;
        `seed`: of the environment's reset, for files with settings of a recording."""
        self.episode_ends.append(self.num_frames)
        if recording is not None:
            self.recordings.append(recording)
        if self.fingerprint is not None:
            self.seeds.append(seed)
            self.hashes.append(self.fingerprint.hexdigest())
            self.fingerprint = Fingerprint()

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                for name in ("episode_ends", "recordings", "seeds"):
                    if name == "episode_ends" or getattr(self, name):
                        self.file[name] = np.asarray(getattr(self, name), dtype=np.int64)
                if self.hashes:
                    self.file["hashes"] = np.asarray(self.hashes, dtype=np.bytes_)
            self.file.close()
            if kind is None:
                sync(self.temporary)
                os.replace(self.temporary, self.path)
                sync(self.path.parent)
        finally:
            self.temporary.unlink(missing_ok=True)
