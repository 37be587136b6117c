"""Recorded actions of the rows of a data set, ids or numbers, as a reader's columns and attributes give them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_modules.action_ids import MOST_IDS, ActionIds, ActionOptions, StoredNames
from data_modules.action_numbers import ActionNumbers
from data_modules.frame_reader import decided
from genie.common.errors import UserError


class RecordedActions:
    """Actions stored with the rows of a data set in any units.

    rows(start, stop): as stored, int64 [n] of ids or float [n, A] of numbers. size: A; None: ids. episodes int64
    [E, 2]: first and one past the last row of each. Raises UserError for ids that are none, and for options that do not
    fit.

    Attributes ids, size, names, range: `ids`, `action_size`, `action_meanings` and `action_range` of a `FrameReader`,
        whose attribute `actions` this is.
    """

    def __init__(
        self,
        path: Path | str,
        rows: Callable[[int, int], np.ndarray],
        size: int | None,
        episodes: np.ndarray,
        names: StoredNames,
        options: ActionOptions,
    ):
        self.rows, self.size = rows, size
        self.ids: ActionIds | None = None
        self.numbers: ActionNumbers | None = None
        if size is not None:
            self.numbers = ActionNumbers(path, rows, episodes, size, names, options)
            self.names = self.numbers.names
            return
        if options.changes_numbers:
            raise UserError(
                f"data.actions.range and change are for actions that are numbers: those of {path} are ids, and stay "
                "what they are"
            )
        self.ids = ActionIds(path, self._found(path, episodes), names, options)
        self.names = self.ids.names

    def _found(self, path: Path | str, episodes: np.ndarray) -> list[int]:
        found: set[int] = set()
        for start, stop in decided(episodes):
            found.update(np.unique(self.rows(start, stop)).tolist())
            if len(found) > MOST_IDS:
                raise UserError(f"actions in {path} have more than {MOST_IDS:,} different ids: write numbers instead")
        return sorted(found)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop - 1 as in a batch: int64 [n] or float32 [n, A] in [-1, 1]."""
        return self.numbers.read(start, stop) if self.numbers else self.known_ids.read(self.rows(start, stop))

    def without_unknown(self, episodes: np.ndarray, recordings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`ActionIds.without` of all rows."""
        if self.ids is None or self.ids.options.none is None:
            return episodes, recordings
        return self.ids.without(self.rows(0, int(episodes[-1, 1])), episodes, recordings)

    @property
    def range(self) -> np.ndarray | None:
        """float64 [A, 2], the stored numbers that are -1 and 1 in a batch; None of ids."""
        return None if self.numbers is None else self.numbers.range

    @property
    def known_ids(self) -> ActionIds:
        assert self.ids is not None  # where there are no numbers
        return self.ids
