"""Common interface of all kinds of data: frames, or states, of many episodes on one axis of rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from data_modules.action_ids import ActionIds, ActionOptions, settle
from genie.common.errors import UserError

PIECE = 65536  # rows of a column that are read together


@dataclass(frozen=True)
class Reading:
    """How any kind of data is to be read; keys as in the `data` group. image_size: (H, W)."""

    image_size: tuple[int, int]
    fit: str
    fps: float | None
    in_memory: bool
    on_error: str
    actions: ActionOptions = ActionOptions()


class FrameReader(Protocol):
    """Frames as rows 0 … `num_frames` - 1, episode after episode. Can be sent to worker processes.

    image_size: (H, W) of what `frames` returns, whatever is stored; None where there are states and no frames.
    state_size, action_size: the numbers of a state, and of a continuous action; None where there are none.
    columns: what there is besides frames, of the columns that `ClipDataset` knows.
    episodes: int64 [E, 2], first and one past the last row of each, in order; a clip never leaves its episode.
    recordings: int64 [E], the recording of each episode, in order: the scenes of one video share theirs, and no
        recording is in two splits.
    fps: rows in a second, None where unknown. action_meanings: names of actions, None where there are none.
    ids: of actions, None without actions or for continuous ones; of readers of several files, those of the first.
    run: rows that cost little more than one when they are read together; optional, 1 by default.
    actions: how recorded actions became those of a batch (`RecordedActions`), None without actions; optional.
    action_range: float [A, 2], what -1 and 1 of a continuous action are in the units of the data, or None; optional.
    tasks: what each episode is about, a text; optional.
    stored_sizes: the distinct sizes (H, W) of the stored frames.
    """

    image_size: tuple[int, int] | None
    state_size: int | None
    action_size: int | None
    num_frames: int
    columns: list[str]
    episodes: np.ndarray
    recordings: np.ndarray
    fps: float | None
    action_meanings: list[str] | None
    ids: ActionIds | None
    object_names: list[str]
    stored_sizes: list[tuple[int, int]]

    @property
    def path(self) -> Path | str:
        """File, folder or address that messages name."""
        ...

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        """uint8 [n, H, W, 3], rows start, start+step, ... below stop. Raises DamagedData where one cannot be read."""
        ...

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows start..stop-1 of a column, in the dtype of a batch; objects in pixels of the returned frames."""
        ...


def require_one_kind(readers: Sequence[FrameReader]) -> None:
    """Sets one number of actions for the readers (files or splits) of a data set. Raises UserError where they
    differ."""
    for reader in readers[1:]:
        same = ["columns", "image_size", "state_size", "action_size", "fps", "object_names"]
        if reader.ids is None:  # names of ids may be in another order
            same.append("action_meanings")
        for name in same:
            if getattr(readers[0], name) != getattr(reader, name):
                had, has = getattr(readers[0], name), getattr(reader, name)
                raise UserError(
                    f"{readers[0].path} has {name} {had}, {reader.path} has {has}: they cannot be trained on together"
                )
    settle([ids for reader in readers for ids in ids_of(reader)])


def ids_of(reader: FrameReader) -> list[ActionIds]:
    """The action ids of each file of a reader."""
    parts = getattr(reader, "readers", None)
    if parts is not None:
        return [ids for part in parts for ids in ids_of(part)]
    return [] if reader.ids is None else [reader.ids]


def decided(episodes: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first row, one past the last) of pieces of at most `PIECE` rows that are together all rows of the episodes
    [E, 2] but the last of each, on which nothing was decided."""
    for first, end in episodes.tolist():
        for low in range(first, end - 1, PIECE):
            yield low, min(low + PIECE, end - 1)


def episodes_at(reader: FrameReader, rows: ArrayLike) -> np.ndarray:
    """The numbers of the episodes that contain `rows`, of the same shape."""
    return np.searchsorted(reader.episodes[:, 0], rows, side="right") - 1


class JoinedReaders:
    """Several readers, one after the other, as one. Raises UserError where they are not of one kind."""

    def __init__(self, path: Path, readers: Sequence[FrameReader]):
        self.path, self.readers = path, list(readers)
        first = self.readers[0]
        require_one_kind(self.readers)
        self.image_size, self.columns, self.fps = first.image_size, first.columns, first.fps
        self.state_size, self.action_size = first.state_size, first.action_size
        self.action_meanings, self.object_names, self.ids = first.action_meanings, first.object_names, first.ids
        self.stored_sizes = sorted({size for reader in self.readers for size in reader.stored_sizes})
        self.starts = np.cumsum([0, *(reader.num_frames for reader in self.readers)])
        self.num_frames = int(self.starts[-1])
        self.episodes = _concatenated([reader.episodes for reader in self.readers], self.starts)
        before = np.cumsum([0, *(int(reader.recordings[-1]) + 1 for reader in self.readers)])
        self.recordings = _concatenated([reader.recordings for reader in self.readers], before)

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        return self._joined(start, stop, step, lambda reader, low, high: reader.frames(low, high, step))

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        return self._joined(start, stop, 1, lambda reader, low, high: reader.column(name, low, high))

    def _joined(
        self, start: int, stop: int, step: int, read: Callable[[FrameReader, int, int], np.ndarray]
    ) -> np.ndarray:
        """The results of `read(reader, first row, one past the last row)` for each reader that has some of the rows."""
        pieces = pieces_of(self.starts, start, stop, step)
        parts = [read(self.reader(number), low, high) for number, low, high in pieces]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def reader(self, number: int) -> FrameReader:
        """The reader `number`, about to be read from."""
        return self.readers[number]


def pieces_of(starts: np.ndarray, start: int, stop: int, step: int) -> Iterator[tuple[int, int, int]]:
    """(part, first row, one past the last row) of rows start, start+step, ... below stop, of consecutive parts.

    starts: the first row of each part, then one past the last row of all. Only parts that have some of the rows are
    given; their rows are counted from the beginning of the part.
    """
    number = int(np.searchsorted(starts, start, side="right")) - 1
    while start < stop:
        offset, end = int(starts[number]), min(stop, int(starts[number + 1]))
        if start < end:
            yield number, start - offset, end - offset
            start += -(-(end - start) // step) * step
        number += 1


def _concatenated(parts: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Numbers that count from 0 in each part, counted on from part to part."""
    return np.concatenate([part + start for part, start in zip(parts, starts[:-1], strict=True)])
