"""Which frames are for training, which for validation and test, when all are in one file."""

import numpy as np

from data_modules.episode_file import SPLITS


def split_episodes(episodes: np.ndarray, recordings: np.ndarray, holdout: float, gap: int) -> dict[str, np.ndarray]:
    """{"train", "val", "test"}: int64 [E, 2] each; the last two get the share `holdout` each, from the end.

    By recording (`FrameReader.recordings`) from three of them on. Fewer are cut by time, and `gap` frames between the
    parts go unused, since frames on the two sides of a cut are nearly the same.
    """
    count = len(set(recordings.tolist()))
    if count >= 3:
        held = max(1, round(count * holdout))
        held = min(held, (count - 1) // 2)
        numbers = np.unique(recordings, return_inverse=True)[1]
        bounds = np.searchsorted(numbers, [0, count - 2 * held, count - held, count])
        parts = [episodes[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    else:
        first, last = int(episodes[0, 0]), int(episodes[-1, 1])
        held = round((last - first) * holdout)
        cuts = [(first, last - 2 * held - gap), (last - 2 * held, last - held - gap), (last - held, last)]
        parts = [_within(episodes, start, end) for start, end in cuts]
    return dict(zip(SPLITS, parts, strict=True))


def _within(episodes: np.ndarray, start: int, end: int) -> np.ndarray:
    cut = np.stack([np.maximum(episodes[:, 0], start), np.minimum(episodes[:, 1], end)], axis=1)
    return cut[cut[:, 1] > cut[:, 0]]
