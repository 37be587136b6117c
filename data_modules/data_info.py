"""Facts about a data set that models and metrics need before the first batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data_modules.clips import ClipDataset
from data_modules.frame_reader import FrameReader
from data_modules.worker_loader import DamagedData
from genie.common.errors import UserError

BACKGROUND_FRAMES = 256  # a median over these is as good as over all frames, and takes less than a second


@dataclass(frozen=True)
class DataInfo:
    """`fps`: frames of a clip per second. `num_actions`: over all splits, None for continuous actions of `action_size`
    numbers in [-1, 1]; `action_meanings`: names of the actions or of these numbers, None where there are none.
    `action_range` [A][2], `action_clusters` [K][A]: of `data.actions`, by which numbers were read, None where they were
    not by these.

    `background` uint8 [C, H, W]: per-pixel median of frames spread over the training split, the trivial prediction.
    None, like `image_size`, where there are no frames. `state_mean`, `state_std` float32 [n]: over the training split,
    the second 1 for a number that never changes; None where there are no states.
    """

    num_actions: int | None
    action_meanings: list[str] | None
    object_names: list[str]
    fps: float
    image_size: tuple[int, int] | None
    background: np.ndarray | None
    action_size: int | None = None
    state_mean: np.ndarray | None = None
    state_std: np.ndarray | None = None
    action_range: list[list[float]] | None = None
    action_clusters: list[list[float]] | None = None

    @property
    def action_options(self) -> dict[str, Any]:
        """The keys of `data.actions` by which other data have the same actions."""
        return {"names": self.action_meanings, "range": self.action_range, "clusters": self.action_clusters}


def describe(dataset: ClipDataset) -> DataInfo:
    """The facts about the data set whose training split is `dataset`."""
    reader = dataset.reader
    num_actions, meanings = count_actions(reader)
    mean = std = None
    if reader.state_size is not None:
        states = np.concatenate([reader.column("states", first, end) for first, end in dataset.episodes])
        mean, deviation = states.mean(axis=0, dtype=np.float64), states.std(axis=0, dtype=np.float64)
        mean, std = mean.astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)
    return DataInfo(
        num_actions=num_actions,
        action_meanings=meanings,
        object_names=reader.object_names,
        fps=float(dataset.fps),
        image_size=reader.image_size,
        background=None if reader.image_size is None else _background(dataset),
        action_size=reader.action_size,
        state_mean=mean,
        state_std=std,
        action_range=_plain(getattr(reader, "action_range", None)),
        action_clusters=_plain(getattr(reader, "centroids", None)),
    )


def _plain(array: np.ndarray | None) -> list[list[float]] | None:
    return None if array is None else array.tolist()


def count_actions(reader: FrameReader) -> tuple[int | None, list[str] | None]:
    """The number of actions over all splits, None for continuous ones, and the names of the actions or of their
    numbers; (None, None) for data without actions."""
    if "actions" not in reader.columns:
        return None, None
    return (None if reader.ids is None else reader.ids.count), reader.action_meanings


def _background(dataset: ClipDataset) -> np.ndarray:
    rows = np.concatenate([np.arange(first, end) for first, end in dataset.episodes])
    run = getattr(dataset.reader, "run", 1)
    count = max(1, min(BACKGROUND_FRAMES, len(rows)) // run)
    stretches = [rows[at : at + run] for at in np.arange(count) * len(rows) // count]
    frames = np.concatenate([_stretch(dataset, stretch) for stretch in stretches])  # [n, H, W, C]
    if len(frames) == 0:
        raise UserError(f"none of {count} places in {dataset.reader.path} can be read")
    return np.median(frames, axis=0).astype(np.uint8).transpose(2, 0, 1).copy()


def _stretch(dataset: ClipDataset, rows: np.ndarray) -> np.ndarray:
    """The frames of the consecutive rows at the beginning of `rows`; none where they cannot be read."""
    stop = rows[0] + np.flatnonzero(np.diff(rows, append=-1) != 1)[0] + 1
    try:
        return dataset.reader.frames(int(rows[0]), int(stop))
    except DamagedData:
        if dataset.on_error == "raise":
            raise
        assert dataset.reader.image_size is not None
        return np.empty((0, *dataset.reader.image_size, 3), dtype=np.uint8)
