"""The ratings of windows, in a file that is whole after each of them."""

from pathlib import Path

from data_modules.annotations import Table, Window, read_table, require_same_data, write_table
from genie.common.errors import UserError
from genie.curation.footage import Footage

BEST = 5  # the ratings are 1 (worst) … 5
SKIPPED = ""


class Ratings:
    """labels.csv: `values` of windows in the order in which they were rated, None where one was skipped.

    A file that is there is gone on with; one that was written by hand needs nothing beside it. Raises UserError where
    it is of other data, has other windows, or something that is no rating.
    """

    def __init__(self, path: Path, footage: Footage):
        self.path, self.data = path, footage.data
        self.values: dict[Window, int | None] = {}
        if not path.exists():
            return
        table, windows = read_table(path, ["rating"]), set(footage.windows)
        if table.data:
            require_same_data(path, table.data, footage.readers)
        for window, row in table.rows.items():
            where = f"{window.part} {window.first}-{window.stop}"
            if window not in windows:
                raise UserError(f"{path} rates {where}, which is no window: were others rated, data.num_frames=…?")
            if row["rating"] not in (SKIPPED, *map(str, range(1, BEST + 1))):
                raise UserError(f"{path} rates {where} as {row['rating']!r}: give 1 … {BEST}, or nothing to skip it")
            self.values[window] = int(row["rating"]) if row["rating"] else None

    @property
    def given(self) -> dict[Window, int]:
        """Without those that were skipped."""
        return {window: rating for window, rating in self.values.items() if rating is not None}

    def give(self, window: Window, rating: int | None) -> None:
        """Keeps a rating, 1 … 5, or None to skip the window. Raises UserError where it cannot be written."""
        others = {other: value for other, value in self.values.items() if other != window}
        self.write(others | {window: rating})

    def undo(self) -> Window | None:
        """Forgets the newest rating, and gives its window; None where there is none."""
        if not self.values:
            return None
        *older, newest = self.values
        self.write({window: self.values[window] for window in older})
        return newest

    def write(self, values: dict[Window, int | None] | None = None) -> None:
        """Writes the file, with other values where they are given. Raises UserError where that cannot be."""
        values = self.values if values is None else values
        rows = {window: {"rating": SKIPPED if rating is None else str(rating)} for window, rating in values.items()}
        write_table(self.path, Table(self.data, rows), ["rating"])
        self.values = values
