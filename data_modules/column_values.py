"""What the values of the columns of a data set may be: checked once for a whole file, before anything learns of them.

On the last frame of an episode nothing was decided. What its row holds of actions and rewards is therefore not looked
at, and read as 0 where it is no such value: files often have NaN or -1 there.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from genie.common.errors import UserError

LARGEST_REWARD = 1e9  # returns of a thousand steps, squared, stay far inside of float32
LARGEST_STATE = 1e18  # squares stay inside of float32
FASTEST = 1000.0  # frames a second of any data
MOST_IDS = 2**16  # different ids of actions: more are numbers that were stored as whole ones


def check_values(
    path: Path | str, columns: list[str], ends: np.ndarray, rows_of: Callable[[str], np.ndarray]
) -> list[int] | None:
    """Checks all rows of the columns of a file. ends: one past the last row of each episode. rows_of(column): its rows.

    Returns the distinct ids of the actions of its decisions, in order; None where there are no ids. Raises UserError
    for values that nothing can be learned of; it names the first row that has one.
    """
    decided = np.ones(int(ends[-1]), dtype=bool)
    decided[ends - 1] = False
    ids = None
    for name in columns:
        rows = rows_of(name)
        if name == "actions" and is_id(rows):
            ids = np.unique(rows[decided]).tolist()
            if len(ids) > MOST_IDS:
                raise UserError(
                    f"actions in {path} have {len(ids):,} different ids: write numbers as float32 [N, A] in [-1, 1]"
                )
        elif name == "actions":
            _check_numbers(path, rows, decided)
        elif name == "rewards":
            wrong = decided & ~(np.abs(rows.reshape(len(rows))) <= LARGEST_REWARD)
            _refuse(path, "rewards", rows, wrong, f"finite numbers of at most ±{LARGEST_REWARD:g}")
        elif name == "states":
            wrong = ~(np.abs(rows) <= LARGEST_STATE).all(1)
            _refuse(path, "states", rows, wrong, f"finite numbers of at most ±{LARGEST_STATE:g}")
        elif name == "terminals":
            flags = rows.reshape(len(rows))
            _refuse(path, "terminals", rows, (flags != 0) & (flags != 1), "true or false, 1 or 0")
        elif name == "objects":
            places = np.isinf(rows).any((1, 2))
            _refuse(path, "objects", rows, places, "pixels, or NaN where an object is absent")
    return ids


def is_id(rows: np.ndarray) -> bool:
    """Whether rows of actions hold ids, not numbers."""
    return rows.dtype.kind in "biu"


def blanked(name: str, rows: np.ndarray) -> np.ndarray:
    """`rows` of a column that is checked, 0 in the place of values that only the last row of an episode may have."""
    if name == "rewards":
        wrong = ~(np.abs(rows) <= LARGEST_REWARD)
    elif name == "actions" and rows.ndim == 2:
        wrong = ~(np.abs(rows) <= 1).all(1)
    else:
        return rows
    if wrong.any():
        rows[wrong] = 0
    return rows


def _check_numbers(path: Path | str, rows: np.ndarray, decided: np.ndarray) -> None:
    _refuse(path, "actions", rows, decided & ~(np.abs(rows) <= 1).all(1), "in [-1, 1] where they are numbers")
    chosen = rows[decided]
    if rows.shape[1] > 1 and len(chosen) and ((chosen == 0) | (chosen == 1)).all() and (chosen.sum(1) == 1).all():
        raise UserError(
            f"actions in {path} are one-hot, a 1 among {rows.shape[1]} numbers: write ids, "
            "actions.argmax(1) as int64 [N]"
        )


def _refuse(path: Path | str, name: str, rows: np.ndarray, wrong: np.ndarray, allowed: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = np.array2string(np.asarray(rows[row]).reshape(-1), separator=", ", threshold=8, max_line_width=10**6)
        count = int(wrong.sum())
        more = f" ({count:,} of {len(rows):,} rows are wrong)" if count > 1 else ""
        raise UserError(
            f"{name} in {path} have to be {allowed}; row {row} is {value.strip('[]')}{more}: correct or leave out "
            "these rows where the file is written"
        )
