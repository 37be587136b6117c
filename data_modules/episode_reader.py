"""Reads stretches of an episode file (see `episode_file.py`); also a file that holds `frames` alone."""

import os
from pathlib import Path

import h5py
import numpy as np

from data_modules.fit import Fit
from genie.errors import UserError

# column -> (numpy kinds that are accepted, dtype that is returned, number of axes)
_COLUMNS = {
    "actions": ("iu", np.int64, 1),
    "rewards": ("fiu", np.float32, 1),
    "terminals": ("biu", np.bool_, 1),
    "objects": ("f", np.float32, 3),
}


class EpisodeReader:
    """Frames of one file, brought to `image_size` (H, W) as `fit` says (`fit.py`), and the columns that the file has.

    The file is opened on the first read of a process and never travels to another one, so the reader can be
    given to workers. With `in_memory` everything is held instead, frames in their stored size.

    A `FrameReader`; each episode is a recording. `resize`: from the stored to the wanted size. Raises UserError for a
    file that is missing, damaged or not in the format.
    """

    def __init__(self, path: str | Path, image_size: tuple[int, int], in_memory: bool = False, fit: str = "squeeze"):
        self.path, self.image_size, self.fit = Path(path), tuple(image_size), fit
        self._opened: dict[str, h5py.Dataset] = {}  # looking a data set up takes longer than reading a clip of it
        self._process = -1
        self._loaded: dict[str, np.ndarray] = {}
        with self._open() as file:
            self._inspect(file)
            if in_memory:
                self._loaded = {name: file[name][:] for name in ("frames", *self.columns)}

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r")
        except FileNotFoundError:
            raise UserError(f"there is no file {self.path}") from None
        except OSError as error:
            reason = str(error).split("(")[-1].rstrip(")")
            raise UserError(f"{self.path} is damaged or no HDF5 file ({reason}): record or convert it again") from None

    def _inspect(self, file: h5py.File) -> None:
        frames = file.get("frames")
        if not isinstance(frames, h5py.Dataset):
            raise UserError(f"{self.path} has no dataset 'frames', only: {', '.join(file) or 'nothing'}")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise UserError(f"frames in {self.path} are {frames.dtype} {list(frames.shape)}, not uint8 [N, H, W, 3]")
        self.num_frames = frames.shape[0]
        self.resize = Fit(frames.shape[1:3], self.image_size, self.fit)
        self.columns = [name for name in _COLUMNS if name in file]
        for name in self.columns:
            kinds, _, axes = _COLUMNS[name]
            data = file[name]
            if data.dtype.kind not in kinds or data.ndim != axes or len(data) != self.num_frames:
                raise UserError(
                    f"{name} in {self.path} are {data.dtype} {list(data.shape)}: "
                    f"the wrong type or not one for each of the {self.num_frames} frames"
                )
        ends = file["episode_ends"][:].astype(np.int64) if "episode_ends" in file else np.array([self.num_frames])
        starts = np.concatenate([[0], ends[:-1]])
        if ends.ndim != 1 or len(ends) == 0 or ends[-1] != self.num_frames or (ends <= starts).any():
            raise UserError(f"episode_ends in {self.path} do not rise to the number of frames, {self.num_frames}")
        self.episodes, self.recordings = np.stack([starts, ends], axis=1), np.arange(len(ends))
        self.fps = float(file.attrs["fps"]) if "fps" in file.attrs else None
        self.action_meanings = self._names(file, "action_meanings")
        self.object_names = self._names(file, "object_names") or []

    @staticmethod
    def _names(file: h5py.File, attribute: str) -> list[str] | None:
        if attribute not in file.attrs:
            return None
        return [name.decode() if isinstance(name, bytes) else str(name) for name in file.attrs[attribute]]

    def _data(self, name: str) -> h5py.Dataset | np.ndarray:
        if self._loaded:
            return self._loaded[name]
        if self._process != os.getpid():  # a forked worker must not touch the handle of its parent
            file = self._open()
            self._opened = {name: file[name] for name in ("frames", *self.columns)}
            self._process = os.getpid()
        return self._opened[name]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": {}, "_process": -1}

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        """uint8 [n, H, W, 3], rows start, start+step, ... below stop."""
        return self.resize(self._data("frames")[start:stop:step])

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 of a column, in the dtype that a batch has; objects in pixels of the frames as given."""
        rows = self._data(name)[start:stop].astype(_COLUMNS[name][1])
        return self.resize.points(rows) if name == "objects" else rows
