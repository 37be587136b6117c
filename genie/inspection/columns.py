"""What was seen as numbers, done, and came of it in a split: figures over all rows of its columns."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_modules.frame_reader import FrameReader, episodes_at

PIECE = 65536  # rows read at a time
MOST_VALUES = 10  # different rewards that are counted one by one


def episode_facts(reader: FrameReader, episodes: np.ndarray, fps: float) -> dict[str, Any]:
    """Number and length of the episodes int64 [E, 2] of a split."""
    lengths = episodes[:, 1] - episodes[:, 0]
    return {
        "recordings": len(np.unique(reader.recordings[episodes_at(reader, episodes[:, 0])])),
        "episodes": len(episodes),
        "frames": int(lengths.sum()),
        "minutes": float(lengths.sum() / fps / 60),
        "episode_frames": {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())},
    }


def number_facts(
    reader: FrameReader, episodes: np.ndarray, column: str, names: list[str]
) -> dict[str, dict[str, float]]:
    """`min`, `mean`, `max`, `std` of each number of a column, states or actions that are numbers, by its name."""
    last = 0 if column == "states" else 1  # of an episode: on the last row nothing was decided
    rows = np.concatenate([reader.column(column, first, end - last) for first, end in episodes.tolist()])
    figures = {name: getattr(rows, name)(axis=0).tolist() for name in ("min", "mean", "max", "std")}
    return {name: {kind: values[number] for kind, values in figures.items()} for number, name in enumerate(names)}


def action_facts(reader: FrameReader, episodes: np.ndarray) -> dict[str, float]:
    """Share of each action in the decisions, by its name, or number where nothing says its name."""
    counts: Counter[int] = Counter()
    for values in _decisions(reader, episodes, "actions"):
        counts.update(dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)))
    names = reader.action_meanings or [str(number) for number in range(reader.ids.count)]
    total = max(1, counts.total())
    return {name: counts[number] / total for number, name in enumerate(names)}


def reward_facts(reader: FrameReader, episodes: np.ndarray) -> dict[str, Any]:
    """`sum`, `min`, `max`, the share that is not 0, and how often each value comes (None where there are many)."""
    counts: Counter[float] = Counter()
    total, low, high, not_zero, number = 0.0, np.inf, -np.inf, 0, 0
    for values in _decisions(reader, episodes, "rewards"):
        total, number = total + float(values.sum(dtype=np.float64)), number + len(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        not_zero += int(np.count_nonzero(values))
        if len(counts) <= MOST_VALUES:
            counts.update(dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)))
    if number == 0:
        return {}
    few = {f"{value:g}": count for value, count in sorted(counts.items())} if len(counts) <= MOST_VALUES else None
    return {"sum": total, "min": low, "max": high, "not_zero": not_zero / number, "counts": few}


def count_terminals(reader: FrameReader, episodes: np.ndarray) -> int:
    """How often an episode was ended by the environment."""
    return sum(int(values.sum()) for values in _decisions(reader, episodes, "terminals"))


def _decisions(reader: FrameReader, episodes: np.ndarray, column: str) -> Iterator[np.ndarray]:
    """A column's rows in pieces, without those of last frames, on which nothing was decided."""
    for first, end in episodes.tolist():
        for low in range(first, end - 1, PIECE):
            yield reader.column(column, low, min(low + PIECE, end - 1))
