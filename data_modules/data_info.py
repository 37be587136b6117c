"""What models and metrics need to know of a data set before the first batch."""

from dataclasses import dataclass

import numpy as np

from data_modules.clips import ClipDataset

BACKGROUND_FRAMES = 256  # a median over these is as good as over all, and takes less than a second


@dataclass(frozen=True)
class DataInfo:
    """`fps`: frames of a clip per second. `num_actions`, `action_meanings`: None where the files do not say.

    `background` uint8 [C, H, W]: per-pixel median of frames spread over the training split: the trivial
    prediction "nothing but the background".
    """

    num_actions: int | None
    action_meanings: list[str] | None
    object_names: list[str]
    fps: float
    image_size: tuple[int, int]
    background: np.ndarray


def describe(dataset: ClipDataset) -> DataInfo:
    """The facts about the data set whose training split this is."""
    reader = dataset.reader
    num_actions = meanings = None
    if "actions" in reader.columns:
        meanings = reader.action_meanings
        last_id = int(reader.column("actions", 0, reader.num_frames).max())
        num_actions = len(meanings) if meanings else last_id + 1
    return DataInfo(
        num_actions=num_actions,
        action_meanings=meanings,
        object_names=reader.object_names,
        fps=float(dataset.fps),
        image_size=reader.image_size,
        background=_background(dataset),
    )


def _background(dataset: ClipDataset) -> np.ndarray:
    rows = np.concatenate([np.arange(first, end) for first, end in dataset.episodes])
    count = min(BACKGROUND_FRAMES, len(rows))
    chosen = rows[np.arange(count) * len(rows) // count]
    frames = np.concatenate([dataset.reader.frames(row, row + 1) for row in chosen])  # [n, H, W, C]
    return np.median(frames, axis=0).astype(np.uint8).transpose(2, 0, 1).copy()
