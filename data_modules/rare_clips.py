"""Oversampling of clips around rare transitions (rewards, ends), with weights that undo the bias.

A share of the draws goes to clips around rare transitions. Every transition of a clip has the inverse of its expected
number of draws as its weight (Horvitz and Thompson 1952), so that a weighted mean over the drawn clips is the mean over
all transitions, each counted once.

Dimension letters: `N` rows, `M` transitions, `T` frames of a clip.
"""

import numpy as np

from data_modules.clips import ClipDataset
from genie.common.random import Stream, fold_in


class RareClips:
    """Where the training clips of a data set begin when the share `share` of them is drawn around rare transitions.

    Rare is a transition with a reward other than 0, or into a terminal state. Without any, or with a share of 0, clips
    are drawn evenly; the weights are still not all 1, since transitions near the ends of an episode are in fewer clips
    than others. Raises ValueError for a share outside [0, 1).
    """

    def __init__(self, clips: ClipDataset, share: float) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"{share} is not in [0, 1)")
        self.seed, self.span, self.stride, self.num_frames = clips.seed, clips.span, clips.stride, clips.num_frames
        self.episodes = clips.episodes  # those that have a clip
        self.rows = np.concatenate([rare_rows(clips, first, end) for first, end in self.episodes])
        self.share = share if len(self.rows) else 0.0
        starts, drawn = self._starts()
        # expected number of draws of the transition from each row, in one clip
        frequency = np.zeros(clips.reader.num_frames)
        for step in range(self.num_frames - 1):
            frequency[starts + step * self.stride] += drawn  # no row is there twice
        seen = frequency > 0
        self.weights = np.zeros(len(frequency), dtype=np.float32)
        self.weights[seen] = (self.num_frames - 1) / (seen.sum() * frequency[seen])
        self.clip_weights = np.zeros(len(frequency), dtype=np.float32)
        self.clip_weights[starts] = 1 / (len(starts) * drawn)

    def start(self, epoch: int, index: int) -> tuple[int, int] | None:
        """As `ClipDataset.location`: the clip drawn in place of clip `index`; None where that one stays."""
        chance, row, place = (fold_in(self.seed, Stream.RARE_CLIP, epoch, index, number) for number in range(3))
        if chance >= self.share * 2**63:  # draws of `fold_in` are below 2**63
            return None
        low, high, end = self._around(self.rows[row % len(self.rows)])
        return int(low + place % (high - low + 1)), int(end)

    def of(self, start: int) -> tuple[np.ndarray, float]:
        """Weights float32 [T] of the transitions of the clip from row `start`, about 1 on average (0 on the last frame,
        which has no transition); and the weight of the whole clip, for losses of whole clips."""
        weights = self.weights[start : start + self.span : self.stride].copy()
        weights[-1] = 0
        return weights, float(self.clip_weights[start])

    def _around(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First and last start rows of clips with the transition of `rows` in them, and the ends of their episodes."""
        episodes = self.episodes[np.searchsorted(self.episodes[:, 0], rows, side="right") - 1]
        first, end = episodes[..., 0], episodes[..., 1]
        return np.maximum(first, rows - self.span + 2), np.minimum(rows, end - self.span), end

    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        """The first rows of all clips, and the probability of each in one draw."""
        starts = np.concatenate([np.arange(first, end - self.span + 1) for first, end in self.episodes])
        drawn = np.full(len(starts), (1 - self.share) / len(starts))
        if self.share:
            low, high, _ = self._around(self.rows)
            parts = self.share / len(self.rows) / (high - low + 1)
            around = np.zeros(int(starts[-1]) + 2)  # as differences: every row adds the same to a stretch of starts
            np.add.at(around, low, parts)
            np.add.at(around, high + 1, -parts)
            drawn += np.cumsum(around)[starts]
        return starts, drawn


def rare_rows(clips: ClipDataset, first: int, end: int) -> np.ndarray:
    """Rows of the episode `first` … `end` - 1 whose transition is rare."""
    rare = np.zeros(end - first, dtype=bool)
    for name in ("rewards", "terminals"):
        if name in clips.reader.columns:
            rare |= clips.reader.column(name, int(first), int(end)) != 0
    rare[-1] = False  # no transition
    return first + np.flatnonzero(rare)
