"""Pictures in the rows of Parquet files, as LeRobot stores cameras whose dtype is "image"."""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.worker_loader import DamagedData, now_reading
from genie.common.errors import reason

KEPT = 4  # groups of rows of a process, as they are stored: LeRobot writes one for each episode, or hundreds of rows


class RowImages:
    """The pictures of episodes. places: of each, its file below `root` and its first row there."""

    def __init__(self, root: Path, key: str, places: list[tuple[str, int]]):
        self.root, self.key, self.places = root, key, places
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._starts: dict[str, np.ndarray] = {}  # the first row of each group of a file, then the number of rows
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_groups": OrderedDict()}

    def size(self) -> tuple[int, int]:
        """(H, W) of the first picture. Raises DamagedData where it cannot be read."""
        height, width = next(self.read(0, np.array([0]))).shape[:2]
        return height, width

    def read(self, episode: int, offsets: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] of rows of an episode, counted from its first. Raises DamagedData where one cannot be
        read."""
        file, first = self.places[episode]
        now_reading(self.root / file)
        for row in (first + offsets).tolist():
            try:
                yield _decoded(self._stored(file, row))
            except Exception as error:  # pyarrow and Pillow raise errors of many kinds for damaged files
                where = f"{self.root / file}, row {row} of the column {self.key}"
                raise DamagedData(f"{where} cannot be read ({reason(error)})") from error

    def _stored(self, file: str, row: int) -> bytes:
        import pyarrow.parquet as parquet

        if self._process != os.getpid():  # what a fork inherited may be half done
            self._groups, self._process = OrderedDict(), os.getpid()
        if file not in self._starts:
            metadata = parquet.read_metadata(self.root / file)
            counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
            self._starts[file] = np.cumsum([0, *counts])
        group = int(np.searchsorted(self._starts[file], row, side="right")) - 1
        if (file, group) not in self._groups:
            with parquet.ParquetFile(self.root / file) as opened:
                self._groups[file, group] = opened.read_row_group(group, [self.key], use_threads=False).column(0)
            if len(self._groups) > KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end((file, group))
        return self._groups[file, group][row - int(self._starts[file][group])].as_py()["bytes"]


def _decoded(content: bytes) -> np.ndarray:
    if content is None:
        raise ValueError("the picture is in another file")
    return np.asarray(Image.open(io.BytesIO(content), formats=("PNG", "JPEG")).convert("RGB"))
