"""Which frames are for training, which for validation and test, when all are in one file; and what to change where a
split has no clip."""

from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from data_modules.episode_file import SPLITS
from genie.common.errors import UserError

Episodes = dict[str, np.ndarray]  # of each split int64 [E, 2]: first and one past the last frame
HOLDOUTS = [hundredths / 100 for hundredths in range(1, 46)]  # shares that are proposed


BY_RECORDING = 3  # recordings, of which each split gets whole ones; fewer are cut


def check_holdout(holdout: float) -> None:
    """Raises UserError for what is no share, or leaves nothing to train on."""
    number = isinstance(holdout, int | float) and not isinstance(holdout, bool)
    if not number or not 0 <= holdout < 0.5:
        raise UserError(
            f"data.holdout={holdout} must be a number from 0 to below 0.5: val and test get that share each"
        )


def split_episodes(episodes: np.ndarray, recordings: np.ndarray, holdout: float, gap: int) -> dict[str, np.ndarray]:
    """{"train", "val", "test"}: int64 [E, 2] each; the last two get the share `holdout` each, from the end.

    By recording (`FrameReader.recordings`) from `BY_RECORDING` of them on. Fewer are cut by time, and `gap` frames
    between the parts go unused, since frames on the two sides of a cut are nearly the same.
    """
    count = len(set(recordings.tolist()))
    if count >= BY_RECORDING:
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


@dataclass(frozen=True)
class Wanted:
    """What clips are asked for; keys of the `data` group."""

    num_frames: int
    stride: int
    holdout: float
    batch_size: int

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip."""
        return (self.num_frames - 1) * self.stride + 1


def why_no_clip(split: str, splits: Episodes, whole: tuple[np.ndarray, np.ndarray] | None, wanted: Wanted) -> str:
    """Why a split has no clip, and values with which every split has some, and training a batch of them.

    whole: (episodes, recordings) that `split_episodes` was given; None where the splits have files of their own.
    """
    longest = {name: _longest(episodes) for name, episodes in splits.items()}
    why = f"its longest episode has {longest[split]}"
    shares, cut, more = [wanted.holdout], lambda holdout, gap: splits, "longer recordings"
    if whole is not None:
        episodes, recordings = whole
        count, frames = len(np.unique(recordings)), int((episodes[:, 1] - episodes[:, 0]).sum())
        by_recording = count >= BY_RECORDING
        shares += HOLDOUTS
        shared = cache(partial(split_episodes, episodes, recordings))
        cut = lambda holdout, gap: shared(holdout, 0 if by_recording else gap)  # noqa: E731
        if by_recording:
            why += f" (of {count} recordings each split has whole ones, by data.holdout={wanted.holdout:g})"
        else:
            lengths = ", ".join(f"{name} {length}" for name, length in longest.items())
            why = (
                f"data.holdout={wanted.holdout:g} cuts {count} recording{'s' * (count > 1)} of {frames} frames, with "
                f"{wanted.span} unused at each cut, so that in a row there are at most: {lengths}"
            )
            more = f"{BY_RECORDING} recordings, which are not cut"
    most = max(longest.values()) if whole is None else _longest(whole[0])
    options = (
        replace(wanted, num_frames=num_frames, holdout=holdout, stride=stride)
        for stride in dict.fromkeys((wanted.stride, 1))
        for num_frames in range(min(wanted.num_frames, most), 1, -1)
        for holdout in shares
    )
    tried = (_fitting(one, cut(one.holdout, one.span)) for one in options)
    fitting = [one for one in tried if one is not None]
    if not fitting:
        return f"{why}, which is too little for clips of two: give {more}"
    best = next((one for one in fitting if one.batch_size == wanted.batch_size), fitting[0])
    keys = [
        key for key in ("num_frames", "stride", "holdout", "batch_size") if getattr(best, key) != getattr(wanted, key)
    ]
    return f"{why}: give {' '.join(f'data.{key}={getattr(best, key):g}' for key in keys)}, or {more}"


def _longest(episodes: np.ndarray) -> int:
    return int((episodes[:, 1] - episodes[:, 0]).max(initial=0))


def _fitting(wanted: Wanted, splits: Episodes) -> Wanted | None:
    """What is wanted, with at most the batch size that training has clips for; None where a split has none."""
    if any(_longest(episodes) < wanted.span for episodes in splits.values()):
        return None
    lengths = splits["train"][:, 1] - splits["train"][:, 0]
    clips = int(np.maximum(lengths - wanted.span + 1, 0).sum())
    return replace(wanted, batch_size=min(wanted.batch_size, clips))
