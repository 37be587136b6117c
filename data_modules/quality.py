"""Only what is good enough: the scores that `python -m genie.curate` wrote, applied to the splits of a data set.

quality.csv is a file of windows (`window_table.py`). Its column `quality` is about 1 (worst) to 5 (best), and empty
where nothing was rated; the others are measured without ratings (`genie/curation/signals.py`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_modules.episode_file import SPLITS
from data_modules.sources import Split
from data_modules.window_table import curation_folder, parts, read_table, require_same_data
from genie.common.errors import UserError

QUALITY_FILE = "quality.csv"


class GoodWindows:
    """Reduces splits to what is good enough: `data.quality`, `data.min_quality` and `data.quality_splits`.

    Without a `min_quality` nothing is read or left out. Raises UserError for values that cannot be.
    """

    def __init__(self, path: str | None, min_quality: float | None, chosen: Sequence[str]):
        if min_quality is not None and (isinstance(min_quality, bool) or not isinstance(min_quality, int | float)):
            raise UserError(f"data.min_quality={min_quality} must be a number, of about 1 to 5")
        if isinstance(chosen, str) or not isinstance(chosen, Sequence):
            raise UserError(f"data.quality_splits={chosen} must be a list of {', '.join(SPLITS)}")
        for split in chosen:
            if split not in SPLITS:
                raise UserError(f"data.quality_splits: there is no split {split!r}, only {', '.join(SPLITS)}")
        self.path, self.min_quality, self.chosen = path, min_quality, chosen

    def of(self, splits: dict[str, Split], root: Path) -> tuple[dict[str, Split], dict[str, tuple[int, int]]]:
        """The splits with the good stretches of their episodes; and how many frames these are, of how many, by split.

        Raises UserError where the scores are missing, of other data, without qualities, or leave nothing.
        """
        if self.min_quality is None:
            return splits, {}
        path = Path(self.path) if self.path else curation_folder(root) / QUALITY_FILE
        table, readers = read_table(path, ["quality"]), parts(splits)
        part_of = {split: "all" if "all" in readers else split for split in self.chosen if split in splits}
        require_same_data(path, table.data, {part: readers[part] for part in part_of.values()})
        quality = {window: _number(path, row["quality"]) for window, row in table.rows.items()}
        reduced, kept = dict(splits), {}
        for split, part in part_of.items():
            reader, episodes = splits[split]
            scored = {(window.first, window.stop): value for window, value in quality.items() if window.part == part}
            good = sorted(rows for rows, value in scored.items() if value >= self.min_quality)
            stretches = covered(episodes, np.array(good, dtype=np.int64).reshape(-1, 2))
            if not len(stretches):
                best = max(scored.values(), default=float("nan"))
                raise UserError(
                    f"data.min_quality={self.min_quality} leaves nothing of {split}: the best of {path} is {best:.2f}"
                )
            reduced[split] = reader, stretches
            kept[split] = _count(stretches), _count(episodes)
        return reduced, kept


def covered(episodes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """int64 [K, 2]: the stretches of episodes [E, 2] that windows [W, 2] cover; both are in order, none overlap."""
    stretches: list[list[int]] = []
    for first, end in episodes.tolist():
        low = np.searchsorted(windows[:, 1], first, side="right")
        high = np.searchsorted(windows[:, 0], end, side="left")
        for start, stop in windows[low:high].clip(first, end).tolist():
            if start > first and stretches and stretches[-1][1] == start:
                stretches[-1][1] = stop
            else:
                stretches.append([start, stop])
    return np.array(stretches, dtype=np.int64).reshape(-1, 2)


def _count(stretches: np.ndarray) -> int:
    """Of frames in stretches [K, 2]."""
    return int((stretches[:, 1] - stretches[:, 0]).sum())


def _number(path: Path, quality: str) -> float:
    try:
        return float(quality)
    except ValueError:
        way = "rate clips with `python -m genie.curate step=label`, then train and score"
        raise UserError(f"{path} has windows without a quality: {way}") from None
