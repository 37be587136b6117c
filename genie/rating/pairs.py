"""Pairs of segments of a data set, and what was said of them: preferences.csv, whole after each verdict.

A file of windows (`data_modules/annotations.py`), a line for each pair:

    part,first,stop,other_part,other_first,other_stop,better

`better` is "this" (the segment of the first three columns), "other", "equal", or nothing where a pair was skipped.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from data_modules.annotations import Table, Window, read_table, require_same_data, write_table
from data_modules.frame_reader import FrameReader
from genie.common.errors import UserError

COMMAND = "genie.rate"
COLUMNS = ("other_part", "other_first", "other_stop", "better")
BETTER = {"this": 1.0, "equal": 0.5, "other": 0.0}  # how much the first segment is preferred
SKIPPED = ""


@dataclass(frozen=True)
class Pair:
    """Two segments of equal length."""

    this: Window
    other: Window


class Preferences:
    """preferences.csv: `values` of pairs in the order in which they were given, None where one was skipped.

    A file that is there is gone on with. Raises UserError where it is of other data or has a line that is no pair.
    """

    def __init__(self, path: Path, data: dict[str, dict], readers: dict[str, FrameReader]) -> None:
        self.path, self.data = path, data
        self.values: dict[Pair, str | None] = {}
        if not path.exists():
            return
        table = read_table(path, COLUMNS, COMMAND)
        for window, row in table.rows.items():
            pair = _pair(path, window, row)
            for one in (pair.this, pair.other):
                if one.part not in readers or not 0 <= one.first < one.stop <= readers[one.part].num_frames:
                    raise UserError(f"{path} rates {where(one)}, which is not in the data")
            self.values[pair] = row["better"] or None
        if table.data:
            used = {window.part for pair in self.values for window in (pair.this, pair.other)}
            require_same_data(path, table.data, {part: readers[part] for part in sorted(used)}, COMMAND)

    @property
    def given(self) -> dict[Pair, str]:
        """Without those that were skipped."""
        return {pair: better for pair, better in self.values.items() if better is not None}

    def give(self, pair: Pair, better: str | None) -> None:
        """Keeps what is said of a pair, None to skip it. Raises UserError where it cannot be written."""
        others = {other: value for other, value in self.values.items() if other != pair}
        self.write(others | {pair: better})

    def undo(self) -> None:
        """Forgets the newest verdict, where there is one."""
        if self.values:
            *older, _ = self.values
            self.write({pair: self.values[pair] for pair in older})

    def write(self, values: dict[Pair, str | None] | None = None) -> None:
        """Writes the file, with other values where they are given. Raises UserError where that cannot be."""
        values = self.values if values is None else values
        rows = {}
        for pair, better in values.items():
            named = (pair.other.part, str(pair.other.first), str(pair.other.stop), better or SKIPPED)
            rows[pair.this] = dict(zip(COLUMNS, named, strict=True))
        write_table(self.path, Table(self.data, rows), COLUMNS)
        self.values = values


def where(window: Window) -> str:
    """A segment in words."""
    return f"{window.part} {window.first}-{window.stop}"


def choose_pairs(reader: FrameReader, part: str, length: int, most: int, seed: int) -> list[Pair]:
    """At most `most` pairs of segments of `length` frames, drawn by `seed` from all that lie beside each other in the
    episodes of a part; no segment is in two of them. Raises UserError where there is none."""
    starts = [start for first, end in reader.episodes.tolist() for start in range(first, end - length + 1, length)]
    order = torch.randperm(len(starts), generator=torch.Generator().manual_seed(seed)).tolist()
    windows = [Window(part, starts[number], starts[number] + length) for number in order]
    pairs = [Pair(this, other) for this, other in zip(windows[::2], windows[1::2], strict=False)]
    if not pairs:
        raise UserError(f"{reader.path} has {len(starts)} segments of {length} frames: give fewer num_frames")
    return pairs[:most]


def _pair(path: Path, window: Window, row: dict[str, str]) -> Pair:
    try:
        other = Window(row["other_part"], int(row["other_first"]), int(row["other_stop"]))
    except ValueError:
        raise UserError(f"{path} has a line without another segment: that of {where(window)}") from None
    if row["better"] not in (SKIPPED, *BETTER):
        raise UserError(f"{path} says {row['better']!r} of {where(window)}: give {', '.join(BETTER)}, or nothing")
    if window.stop - window.first != other.stop - other.first:
        raise UserError(f"{path} compares {where(window)} with {where(other)}: segments of a pair are equally long")
    return Pair(window, other)
