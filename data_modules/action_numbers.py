"""Recorded actions that are numbers in units of their own, such as degrees, brought to [-1, 1].

Dimension letters: `A` numbers of an action, `E` episodes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_modules.action_ids import ActionOptions, StoredNames, listed, names_of_numbers
from data_modules.frame_reader import decided
from genie.common.errors import UserError


class ActionNumbers:
    """Numbers of the rows of a data set, linear from their range to [-1, 1], and clipped to it.

    rows(start, stop): the stored numbers of rows, float [n, A]. episodes int64 [E, 2]: first and one past the last row.
    Raises UserError for options that do not fit them.

    Attribute range: float64 [A, 2], the numbers that become -1 and 1: `data.actions.range`, or the least and greatest
        of the decisions (all rows but the last of each episode). A number that never changes becomes 0.
    """

    def __init__(
        self,
        path: Path | str,
        rows: Callable[[int, int], np.ndarray],
        episodes: np.ndarray,
        size: int,
        names: StoredNames,
        options: ActionOptions,
    ):
        self.rows, self.change, self.first, self.size = rows, options.change, episodes[:, 0], size
        self.names = names_of_numbers(path, size, names, options)
        if options.range is not None and len(options.range) != size:
            raise UserError(
                f"data.actions.range has {len(options.range)} pairs, and actions in {path} are {size} numbers"
                + (f" ({listed(self.names)})" if self.names else "")
            )
        self.set_range(np.array(self._least_and_greatest(episodes) if options.range is None else options.range))

    def set_range(self, range_: np.ndarray) -> None:
        """Sets `range`, [A, 2]."""
        self.range = range_.astype(np.float64)
        low, high = self.range.T
        self.middle = (low + high) / 2
        self.scale = np.divide(2, high - low, out=np.zeros(self.size), where=high > low)

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 [n, A] in [-1, 1], rows start … stop - 1."""
        scaled = (self._stored(start, stop) - self.middle) * self.scale
        return scaled.clip(-1, 1).astype(np.float32)

    def _stored(self, start: int, stop: int) -> np.ndarray:
        """float64 [n, A]; with `change` what changed since the row before, 0 in the first row of an episode."""
        if not self.change:
            return self.rows(start, stop).astype(np.float64)
        before = max(start - 1, 0)
        values = self.rows(before, stop).astype(np.float64)
        changes = np.diff(values, axis=0, prepend=values[:1])[start - before :]
        low, high = np.searchsorted(self.first, [start, stop])
        changes[self.first[low:high] - start] = 0
        return changes

    def _least_and_greatest(self, episodes: np.ndarray) -> np.ndarray:
        low, high = np.full(self.size, np.inf), np.full(self.size, -np.inf)
        for start, stop in decided(episodes):
            piece = self._stored(start, stop)
            low, high = np.minimum(low, piece.min(0)), np.maximum(high, piece.max(0))
        return np.stack([low, high], 1) if np.isfinite(low).all() else np.zeros((self.size, 2))


def settle_ranges(parts: list[ActionNumbers]) -> None:
    """Gives the numbers of all splits of a data set one range, from the least to the greatest of all."""
    if len(parts) > 1:
        low = np.min([part.range[:, 0] for part in parts], axis=0)
        high = np.max([part.range[:, 1] for part in parts], axis=0)
        for part in parts:
            part.set_range(np.stack([low, high], 1))
