"""Reader of an episode file (`formats/episodes.py`), or of a file with `frames` or `states` alone."""

import os
from pathlib import Path
from typing import cast

import h5py
import numpy as np

from data_modules.action_ids import ActionIds, ActionOptions, StoredNames, names_of_numbers
from data_modules.formats.episode_header import EpisodeHeader, blanked, dtype_of, open_file, read_header, read_rows
from data_modules.image_resize import fit_for
from data_modules.worker_loader import DamagedData, now_reading
from genie.common.errors import UserError, reason


class EpisodeReader:
    """A `FrameReader` of one file: frames brought to `image_size` (H, W) by `fit`, and the columns of the file.

    Each process opens the file on its first read, so the reader can be sent to workers. With `in_memory` everything is
    held instead, frames in their stored size; states without frames are always held: they are small.

    `resize`: from the stored to the wanted size. `header`: of the file, where it is already known; the file is then not
    opened before it is read. `ids`: of actions, None without actions or for continuous ones. `actions`: how they are
    read. Raises UserError for a file that is missing, damaged or not in the format.
    """

    image_size: tuple[int, int] | None
    stored_sizes: list[tuple[int, int]]

    def __init__(
        self,
        path: str | Path,
        image_size: tuple[int, int],
        in_memory: bool = False,
        fit: str = "squeeze",
        header: EpisodeHeader | None = None,
        actions: ActionOptions | None = None,
    ):
        self.path, self.fit = Path(path), fit
        self._opened: dict[str, h5py.Dataset] = {}  # looking a data set up takes longer than reading a clip from it
        self._process = -1
        header = header or read_header(self.path)
        self.num_frames, self.columns, self.fps = header.num_frames, header.columns, header.fps
        self.object_names = header.object_names
        self.episodes = np.stack([[0, *header.ends[:-1]], header.ends], axis=1)
        self.recordings = np.asarray(header.recordings)
        self.state_size, self.action_size = header.state_size, header.action_size
        self.image_size, self.stored_sizes, self._names = None, [], list(self.columns)
        if header.stored_size is not None:
            height, width = header.stored_size
            self.image_size, self.stored_sizes = (image_size[0], image_size[1]), [(height, width)]
            self._names = ["frames", *self._names]
            self.resize = fit_for(self.stored_sizes[0], self.image_size, fit)
        self._loaded: dict[str, np.ndarray] = {}
        if in_memory or self.image_size is None:
            with open_file(self.path) as file:
                self._loaded = {name: read_rows(cast(h5py.Dataset, file[name]), name) for name in self._names}
        options = actions or ActionOptions()
        names, self.ids = StoredNames(header.action_meanings, header.names_problem), None
        self.action_meanings = names_of_numbers(self.path, self.action_size, names, options)
        if header.action_ids is not None:
            self.ids = ActionIds(self.path, header.action_ids, names, options)
            self.action_meanings = self.ids.names
            if options.none is not None:
                stored = self._rows("actions", slice(None))
                self.episodes, self.recordings = self.ids.without(stored, self.episodes, self.recordings)

    def _data(self, name: str) -> h5py.Dataset | np.ndarray:
        if self._loaded:
            return self._loaded[name]
        if self._process != os.getpid():  # a forked worker must not use the handle of its parent
            file = open_file(self.path)
            self._opened = {name: cast(h5py.Dataset, file[name]) for name in self._names}
            self._process = os.getpid()
        return self._opened[name]

    def _rows(self, name: str, rows: slice) -> np.ndarray:
        now_reading(self.path)
        try:
            return read_rows(self._data(name), name, rows)
        except UserError:
            raise
        except Exception as error:  # HDF5 and its filters raise errors of many kinds for damaged chunks
            raise DamagedData(f"{self.path} cannot be read at row {rows.start} ({reason(error)})") from error

    def close(self) -> None:
        """Closes the file; the next read opens it again."""
        self._opened, self._process = {}, -1

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": {}, "_process": -1}

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        return self.resize(self._rows("frames", slice(start, stop, step)))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        rows = self._rows(name, slice(start, stop))
        if name == "actions" and self.ids is not None:
            return self.ids.read(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # last rows may hold anything
            rows = blanked(name, rows.astype(dtype_of(name, rows)))
        return self.resize.points(rows) if name == "objects" and self.image_size else rows
