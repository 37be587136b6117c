"""Minari data sets (Farama Foundation) with pictures and discrete actions, read in place.

The alignment is that of episode files: an episode of n steps has n + 1 observations, and action t is taken on seeing
observation t. Minari stores large pictures as JPEG, decoded again for each clip, so converting pays off for training.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard, cast

import gymnasium as gym
import h5py
import numpy as np
from PIL import Image

from data_modules.action_ids import ActionIds, StoredNames
from data_modules.formats.episode_header import COLUMNS_READ, check_values, open_file
from data_modules.frame_reader import FrameReader, Reading, pieces_of
from data_modules.image_resize import Fit
from data_modules.worker_loader import DamagedData, now_reading
from genie.common.errors import UserError, reason

# our columns -> Minari's, which have a value for each step, one fewer than frames
STEP_COLUMNS = {"actions": "actions", "rewards": "rewards", "terminals": "terminations"}


class MinariData:
    """Minari's data sets, as a `NamedSource`. key: of the pictures, where observations have several parts ("pixels", or
    "camera/front" within parts); None: the only picture."""

    def __init__(self, reading: Reading, key: str | None):
        if reading.in_memory:
            raise UserError("data.in_memory=true is for episode files: `python -m genie.convert` makes one of Minari's")
        self.reading, self.key = reading, key

    def open_named(self, name: str) -> tuple[FrameReader, None]:
        """`name`: the id of a data set on this machine, or its folder."""
        return MinariReader(name, self.reading, self.key), None


class MinariReader:
    """A `FrameReader`; each episode is a recording. Each process opens the file on its first read. Raises UserError for
    a missing data set, and for one without such pictures or with other than discrete actions."""

    image_size: tuple[int, int] | None
    state_size: int | None = None
    action_size: int | None = None
    fps: float | None

    def __init__(self, name: str, reading: Reading, key: str | None):
        dataset = _load(name)
        storage = dataset.storage
        if storage.FORMAT != "hdf5":
            raise UserError(f"data.root={name} is stored as {storage.FORMAT}, only Minari's hdf5 is read")
        if not isinstance(dataset.action_space, gym.spaces.Discrete):
            raise UserError(f"data.root={name} has actions {dataset.action_space}, only Discrete can be read")
        self.image_size = reading.image_size
        self.path, self.file = Path(name), Path(storage.data_path) / "main_data.hdf5"
        self.picture, size = _find_picture(name, dataset.observation_space, key)
        self.resize = Fit(size, self.image_size, reading.fit)
        self.stored_sizes = [size]
        self.first_action = int(dataset.action_space.start)
        if reading.actions.changes_ids:
            raise UserError("data.actions.offset and none are for episode files: Minari says how its ids count")
        self.numbers = [int(id) for id in dataset.episode_indices]
        lengths = [int(facts["total_steps"]) + 1 for facts in storage.get_episode_metadata(self.numbers)]
        if not lengths:
            raise UserError(f"data.root={name} has no episodes")
        self.starts = np.cumsum([0, *lengths])
        self.num_frames = int(self.starts[-1])
        self.episodes = np.stack([self.starts[:-1], self.starts[1:]], axis=1)
        self.recordings = np.arange(len(lengths))
        self._opened: h5py.File | None = None
        self._process = -1
        self.columns, self.object_names, self.fps = list(STEP_COLUMNS), [], None
        names = StoredNames([f"action{id}" for id in range(int(dataset.action_space.n))])  # Minari has none
        self.ids: ActionIds | None = None  # `column` reads the stored ids until they are checked
        rows = {column: self.column(column, 0, self.num_frames) for column in self.columns}
        found = check_values(name, self.columns, self.starts[1:], rows.__getitem__)
        assert found is not None  # actions are ids
        self.ids = ActionIds(name, found, StoredNames() if reading.actions.names else names, reading.actions)
        self.action_meanings = self.ids.names

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None, "_process": -1}

    def _stored(self, number: int, name: str) -> h5py.Dataset:
        if self._opened is None or self._process != os.getpid():  # a forked worker must not use its parent's handle
            self._opened, self._process = open_file(self.file), os.getpid()
        return cast(h5py.Dataset, self._opened[f"episode_{self.numbers[number]}/{name}"])

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        parts = []
        for number, low, high in pieces_of(self.starts, start, stop, step):
            where = f"episode {self.numbers[number]} of {self.path}"
            now_reading(where)
            data = self._stored(number, self.picture)
            try:
                rows = data[low:high:step]
                parts.append(rows if data.ndim == 4 else np.stack([_decode(row) for row in rows]))
            except (OSError, ValueError) as error:
                raise DamagedData(f"{where} cannot be read at frame {low} ({reason(error)})") from error
        return self.resize(np.concatenate(parts))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 of a column; 0 on the last frame of an episode, where nothing was decided."""
        rows = np.zeros(stop - start, dtype=COLUMNS_READ[name][1])
        filled = 0
        for number, low, high in pieces_of(self.starts, start, stop, 1):
            values = self._stored(number, STEP_COLUMNS[name])[low:high]
            rows[filled : filled + len(values)] = values - self.first_action if name == "actions" else values
            filled += high - low
        return self.ids.read(rows) if name == "actions" and self.ids is not None else rows


def _load(name: str):
    try:
        import minari
    except ImportError:
        raise UserError("data=minari needs the package minari: pip install 'genie-world[minari]'") from None
    folder = Path(name)
    try:
        if folder.is_dir():
            return minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        return minari.load_dataset(name)
    except FileNotFoundError:
        raise UserError(f"there is no Minari data set {name} here: `minari download {name}` fetches it") from None
    except Exception as error:  # damaged data sets cause assertion errors, KeyError and others
        raise UserError(f"data.root={name} cannot be read as a Minari data set: {reason(error)}") from error


def _find_picture(name: str, space: gym.Space, key: str | None) -> tuple[str, tuple[int, int]]:
    """(path of the pictures in an episode, their height and width)."""
    parts = dict(_parts(space, "observations"))
    pictures = {path: part for path, part in parts.items() if _is_picture(part)}
    path = f"observations/{key}" if key else next(iter(pictures), "observations")
    if path not in pictures or (key is None and len(pictures) > 1):
        found = ", ".join(f"{path.removeprefix('observations/')} {part}" for path, part in parts.items())
        raise UserError(
            f"data.root={name}: {f'data.minari.key={key} names' if key else 'there is'} not one picture, "
            f"Box(0, 255, (H, W, 3), uint8), in its observations: {found}"
        )
    height, width = pictures[path].shape[:2]
    return path, (height, width)


def _parts(space: gym.Space, path: str) -> Iterator[tuple[str, gym.Space]]:
    if isinstance(space, gym.spaces.Dict):
        for key, part in space.items():
            yield from _parts(part, f"{path}/{key}")
    else:
        yield path, space


def _is_picture(space: gym.Space) -> TypeGuard[gym.spaces.Box]:
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)


def _decode(row: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row.tobytes()), formats=("JPEG",)).convert("RGB"))
