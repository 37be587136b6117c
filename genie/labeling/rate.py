"""Preferences between segments of a world's data, given on a page and kept in preferences.csv.

The file is one of windows (`data_modules/annotations.py`), with a line for each pair, whole after each answer:

    part,first,stop,other_part,other_first,other_stop,better

`better` is "this" (the segment of the first three columns), "other", "equal", or nothing where a pair was skipped.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from fastapi import FastAPI, HTTPException, Response

from data_modules.annotations import Window, identity, parts, read_table, require_same_data
from data_modules.clip_data import ClipData
from data_modules.frame_reader import FrameReader
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.settings.commands import RateConfig
from genie.common.web import add_page, moving_picture, page_app, serve_page
from genie.labeling.page_server import Answers, RatingSession, add_rating
from genie.labeling.windows import name_of
from genie.world.opening import open_world

COMMAND = "genie.rate"
BETTER = {"this": 1.0, "equal": 0.5, "other": 0.0}  # the probability that the first segment is preferred
SIDES = ("this", "other")  # shown on the left and on the right


@dataclass(frozen=True)
class SegmentPair:
    """Two segments of equal length."""

    this: Window
    other: Window


class Preferences(Answers):
    """preferences.csv: "this", "equal" or "other" of pairs.

    An existing file is continued. Raises UserError for a file of other data or with an invalid line.
    """

    columns = ("other_part", "other_first", "other_stop", "better")

    def __init__(self, path: Path, data: dict[str, dict], readers: dict[str, FrameReader]) -> None:
        super().__init__(path, data)
        if not path.exists():
            return
        table = read_table(path, self.columns, COMMAND)
        for window, row in table.rows.items():
            pair = _pair(path, window, row)
            for one in (pair.this, pair.other):
                if one.part not in readers or not 0 <= one.first < one.stop <= readers[one.part].num_frames:
                    raise UserError(f"{path} rates {name_of(one)}, which is not in the data")
            self.values[pair] = row["better"] or None
        if table.data:
            used = {window.part for pair in self.values for window in (pair.this, pair.other)}
            require_same_data(path, table.data, {part: readers[part] for part in sorted(used)}, COMMAND)

    def row(self, thing: SegmentPair, value: str | None) -> tuple[Window, dict[str, str]]:
        other = thing.other
        cells = other.part, str(other.first), str(other.stop), value or ""
        return thing.this, dict(zip(self.columns, cells, strict=True))


def choose_pairs(reader: FrameReader, part: str, length: int, most: int, seed: int) -> list[SegmentPair]:
    """At most `most` disjoint pairs of segments of `length` frames, drawn by `seed` from the episodes of a part.

    Raises UserError where there is none.
    """
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
        raise UserError(f"{path} has a line without another segment: that of {name_of(window)}") from None
    if row["better"] not in ("", *BETTER):
        raise UserError(f"{path} says {row['better']!r} of {name_of(window)}: give {', '.join(BETTER)}, or nothing")
    if window.stop - window.first != other.stop - other.first:
        raise UserError(f"{path} compares {name_of(window)} with {name_of(other)}: segments of a pair are equally long")
    return SegmentPair(window, other)


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
        return f"{name_of(thing.this)} or {name_of(thing.other)}"


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


def rate(config: RateConfig) -> None:
    """Serves the page until Ctrl-C. Raises UserError for a world without frames, before anything is shown."""
    session = open_session(config)
    answers = session.answers

    def app(loopback: bool) -> FastAPI:
        print(f"{len(answers.given)} pairs are rated in {answers.path}; Ctrl-C ends, the same command goes on")
        return create_app(session, loopback)

    with one_writer(answers.path, "ratings=", beside=True):
        answers.write()  # an error comes before the first answer
        serve_page(app, config.page, "page")


def open_session(config: RateConfig) -> PreferenceSession:
    """The pairs to rate, from the training split of the data of the world of `run`."""
    world = open_world(config.run, config.kind)
    if len(world.observation_shape) != 3:
        raise UserError(f"run={config.run} is a world of states: there is nothing to look at")
    data = {**world.config["data"], "num_frames": config.num_frames, "batch_size": 1, "num_workers": 0}
    module = ClipData(**{**data, "augmentation": None, "min_quality": None})
    readers = parts(module.open())
    part = "train" if "train" in readers else "all"
    path = Path(config.ratings or Path(config.run) / "preferences.csv")
    preferences = Preferences(path, {part: identity(readers[part])}, readers)
    chosen = choose_pairs(readers[part], part, config.num_frames, config.pairs, config.seed)
    return PreferenceSession(readers, preferences, chosen, config.enough, world.fps)
