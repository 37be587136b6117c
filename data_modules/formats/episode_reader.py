"""Reader of an episode file.

Reads stretches of an episode file (see `episode_file.py`); also a file that holds `frames` or `states` alone.
"""

import os
from pathlib import Path

import h5py
import numpy as np

from data_modules.action_ids import ActionIds, ActionOptions, StoredNames, names_of_numbers
from data_modules.formats.episode_header import EpisodeHeader, blanked, dtype_of, open_file, read_header, read_rows
from data_modules.image_resize import fit_for
from data_modules.worker_loader import DamagedData, now_reading
from genie.common.errors import UserError, reason


class EpisodeReader:
    """Frames of one file, brought to `image_size` (H, W) as `fit` says (`fit.py`), and the columns that the file has.

    The file is opened on the first read of a process and never travels to another one, so the reader can be
    given to workers. With `in_memory` everything is held instead, frames in their stored size; states without frames
    are always held: they are small.

    A `FrameReader`. `resize`: from the stored to the wanted size. `header`: what the file says of itself, where it is
    known already; the file is then not opened before it is read. `ids`: of actions (`action_ids.py`), None where there
    are none. `actions`: how they are read. Raises UserError for a file that is missing, damaged or not in the format.
    """

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
        self._opened: dict[str, h5py.Dataset] = {}  # looking a data set up takes longer than reading a clip of it
        self._process = -1
        header = header or read_header(self.path)
        self.num_frames, self.columns, self.fps = header.num_frames, header.columns, header.fps
        self.object_names = header.object_names
        self.episodes = np.stack([[0, *header.ends[:-1]], header.ends], axis=1)
        self.recordings = np.asarray(header.recordings)
        self.state_size, self.action_size = header.state_size, header.action_size
        self.image_size, self.stored_sizes, self._names = None, [], list(self.columns)
        if header.stored_size is not None:
            self.image_size, self.stored_sizes = tuple(image_size), [tuple(header.stored_size)]
            self._names = ["frames", *self._names]
            self.resize = fit_for(self.stored_sizes[0], self.image_size, fit)
        self._loaded: dict[str, np.ndarray] = {}
        if in_memory or self.image_size is None:
            with open_file(self.path) as file:
                self._loaded = {name: read_rows(file[name], name) for name in self._names}
        self._know_actions(header, actions or ActionOptions())

    def _know_actions(self, header: EpisodeHeader, options: ActionOptions) -> None:
        """Ids of actions, or the names of the numbers of one; episodes without the steps that `options` leave out."""
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
        if self._process != os.getpid():  # a forked worker must not touch the handle of its parent
            file = open_file(self.path)
            self._opened = {name: file[name] for name in self._names}
            self._process = os.getpid()
        return self._opened[name]

    def _rows(self, name: str, rows: slice) -> np.ndarray:
        now_reading(self.path)
        try:
            return read_rows(self._data(name), name, rows)
        except UserError:
            raise
        except Exception as error:  # of damaged chunks HDF5 and its filters raise errors of many kinds
            raise DamagedData(f"{self.path} cannot be read at row {rows.start} ({reason(error)})") from error

    def close(self) -> None:
        """Lets go of the file; the next read opens it again."""
        self._opened, self._process = {}, -1

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": {}, "_process": -1}

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        """uint8 [n, H, W, 3], rows start, start+step, ... below stop. Raises DamagedData where they cannot be read."""
        return self.resize(self._rows("frames", slice(start, stop, step)))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 of a column, in the dtype that a batch has; objects in pixels of the frames as given."""
        rows = self._rows(name, slice(start, stop))
        if name == "actions" and self.ids is not None:
            return self.ids.read(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # on last rows, which hold nothing
            rows = blanked(name, rows.astype(dtype_of(name, rows)))
        return self.resize.points(rows) if name == "objects" and self.image_size else rows
