"""Preferences between segments, given on a page.

Pairs of segments of a data set, and what was said of them: preferences.csv, whole after each verdict.

A file of windows (`data_modules/annotations.py`), a line for each pair:

    part,first,stop,other_part,other_first,other_stop,better

`better` is "this" (the segment of the first three columns), "other", "equal", or nothing where a pair was skipped.

The page on which two segments are compared, and its server: one pair after the other, until enough or Ctrl-C.

`python -m genie.rate`: pairs of segments of a world's data on a page, until Ctrl-C.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Response

from data_modules.annotations import Table, Window, identity, parts, read_table, require_same_data, write_table
from data_modules.clip_data import ClipData
from data_modules.frame_reader import FrameReader
from genie.common.config_types import require_whole
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.web import add_page, check_address, moving_picture, page_app, serve_page
from genie.labeling.page_server import RatingSession, add_rating
from genie.world.opening import open_world

COMMAND = "genie.rate"
COLUMNS = ("other_part", "other_first", "other_stop", "better")
BETTER = {"this": 1.0, "equal": 0.5, "other": 0.0}  # how much the first segment is preferred
SKIPPED = ""


@dataclass(frozen=True)
class SegmentPair:
    """Two segments of equal length."""

    this: Window
    other: Window


class Preferences:
    """preferences.csv: `values` of pairs in the order in which they were given, None where one was skipped.

    A file that is there is gone on with. Raises UserError where it is of other data or has a line that is no pair.
    """

    def __init__(self, path: Path, data: dict[str, dict], readers: dict[str, FrameReader]) -> None:
        self.path, self.data = path, data
        self.values: dict[SegmentPair, str | None] = {}
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
    def given(self) -> dict[SegmentPair, str]:
        """Without those that were skipped."""
        return {pair: better for pair, better in self.values.items() if better is not None}

    def give(self, pair: SegmentPair, better: str | None) -> None:
        """Keeps what is said of a pair, None to skip it. Raises UserError where it cannot be written."""
        others = {other: value for other, value in self.values.items() if other != pair}
        self.write(others | {pair: better})

    def undo(self) -> None:
        """Forgets the newest verdict, where there is one."""
        if self.values:
            *older, _ = self.values
            self.write({pair: self.values[pair] for pair in older})

    def write(self, values: dict[SegmentPair, str | None] | None = None) -> None:
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


def choose_pairs(reader: FrameReader, part: str, length: int, most: int, seed: int) -> list[SegmentPair]:
    """At most `most` pairs of segments of `length` frames, drawn by `seed` from all that lie beside each other in the
    episodes of a part; no segment is in two of them. Raises UserError where there is none."""
    starts = [start for first, end in reader.episodes.tolist() for start in range(first, end - length + 1, length)]
    order = torch.randperm(len(starts), generator=torch.Generator().manual_seed(seed)).tolist()
    windows = [Window(part, starts[number], starts[number] + length) for number in order]
    pairs = [SegmentPair(this, other) for this, other in zip(windows[::2], windows[1::2], strict=False)]
    if not pairs:
        raise UserError(f"{reader.path} has {len(starts)} segments of {length} frames: give fewer num_frames")
    return pairs[:most]


def _pair(path: Path, window: Window, row: dict[str, str]) -> SegmentPair:
    try:
        other = Window(row["other_part"], int(row["other_first"]), int(row["other_stop"]))
    except ValueError:
        raise UserError(f"{path} has a line without another segment: that of {where(window)}") from None
    if row["better"] not in (SKIPPED, *BETTER):
        raise UserError(f"{path} says {row['better']!r} of {where(window)}: give {', '.join(BETTER)}, or nothing")
    if window.stop - window.first != other.stop - other.first:
        raise UserError(f"{path} compares {where(window)} with {where(other)}: segments of a pair are equally long")
    return SegmentPair(window, other)


SIDES = ("this", "other")  # shown on the left and on the right


@dataclass
class PreferenceSession(RatingSession):
    """Pairs of segments of `readers`; `fps` at which they are shown."""

    readers: dict[str, FrameReader]
    answers: Preferences
    order: list[SegmentPair]
    enough: int
    fps: float
    choices = tuple(BETTER)

    def where(self, thing: SegmentPair) -> str:
        return f"{where(thing.this)} or {where(thing.other)}"


def create_app(session: PreferenceSession, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address."""
    app = page_app(loopback)
    add_rating(app, session)

    @app.get("/pairs/{number}/{side}.png")
    async def segment(number: int, side: str) -> Response:
        if not 0 <= number < len(session.order) or side not in SIDES:
            raise HTTPException(404, "there is no such segment")
        window = getattr(session.order[number], side)
        return moving_picture(session.readers[window.part].frames(window.first, window.stop), session.fps)

    add_page(app, "genie.labeling", "rate_page")
    return app


SPLIT = "train"


def rate(config: dict[str, Any]) -> None:
    """Serves the page. Raises UserError for a value that cannot be, before anything is shown."""
    require_whole(config, "num_frames", least=2)
    require_whole(config, "pairs")
    require_whole(config, "seed", least=0)
    check_address(config["page"], "page")
    session = open_session(config)
    with one_writer(session.answers.path, "ratings=", beside=True):
        _serve(session, config)


def _serve(session: PreferenceSession, config: dict[str, Any]) -> None:
    def app(loopback: bool) -> FastAPI:
        print(f"{len(session.answers.given)} pairs are rated in {session.answers.path}; Ctrl-C ends, the same "
              "command goes on")  # fmt: skip
        return create_app(session, loopback)

    session.answers.write()  # whether it can be: before the first verdict
    serve_page(app, config["page"], "page")


def open_session(config: dict[str, Any]) -> PreferenceSession:
    """The pairs to be rated, of the training split of the data that the world of `run` was trained on."""
    world = open_world(config["run"], config["kind"])
    if len(world.observation_shape) != 3:
        raise UserError(f"run={config['run']} is a world of states: there is nothing to look at")
    data = {**world.config["data"], "num_frames": config["num_frames"], "batch_size": 1, "num_workers": 0}
    module = ClipData(**{**data, "augmentation": None, "min_quality": None})
    readers = parts(module.open())
    part = SPLIT if SPLIT in readers else "all"
    path = Path(config["ratings"] or Path(config["run"]) / "preferences.csv")
    preferences = Preferences(path, {part: identity(readers[part])}, readers)
    chosen = choose_pairs(readers[part], part, config["num_frames"], config["pairs"], config["seed"])
    return PreferenceSession(readers, preferences, chosen, config["enough"], world.fps)
