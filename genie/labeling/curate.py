"""Curation of clips by a learned quality: ratings on a page, training, scores.

Dimension letters: `N` windows, `F` signals.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from rich.table import Table as Printed

from data_modules.annotations import QUALITY_FILE, Window, read_table, require_same_data
from genie.common.device import keep_freed_memory
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.settings.commands import BEST_QUALITY, CurateConfig
from genie.common.tables import print_table
from genie.common.web import add_page, moving_picture, page_app, serve_page
from genie.labeling.features import SIGNALS, all_signals, as_features, look_at, pooled_features, stack, write_scores
from genie.labeling.page_server import Answers, RatingSession, add_rating
from genie.labeling.quality_head import Head, RidgeFit, agreement, fit_head
from genie.labeling.windows import WindowedData, name_of

FAR = 4.0
FEWEST = 10  # ratings for training a head
THRESHOLDS = (2.0, 2.5, 3.0, 3.5, 4.0)  # shown beside the given one


class Ratings(Answers):
    """labels.csv: ratings 1 … 5 of windows, "" where one was skipped.

    An existing file is continued; one that was written by hand needs nothing beside it. Raises UserError for a file of
    other data, of other windows, or with an invalid rating.
    """

    columns = ("rating",)

    def __init__(self, path: Path, footage: WindowedData):
        super().__init__(path, footage.data)
        if not path.exists():
            return
        table, windows = read_table(path, self.columns), set(footage.windows)
        if table.data:
            require_same_data(path, table.data, footage.readers)
        for window, row in table.rows.items():
            where = name_of(window)
            if window not in windows:
                raise UserError(f"{path} rates {where}, which is no window: were others rated, data.num_frames=…?")
            if row["rating"] not in ("", *map(str, range(1, BEST_QUALITY + 1))):
                raise UserError(
                    f"{path} rates {where} as {row['rating']!r}: give 1 … {BEST_QUALITY}, or nothing to skip it"
                )
            self.values[window] = int(row["rating"]) if row["rating"] else None

    def row(self, thing: Window, value: int | None) -> tuple[Window, dict[str, str]]:
        return thing, {"rating": "" if value is None else str(value)}


def rating_order(signals: np.ndarray) -> list[int]:
    """All of N windows in the order in which to rate them, so that few ratings tell much.

    `signals` float [N, F] in the order of the data. Windows are taken alternately from an even spread over the data,
    which represents the common ones, and as the one that differs most from all before, which finds rare ones early.
    """
    count = len(signals)
    places = standardise(signals)
    nearest = np.full(count, np.inf)  # squared distance to the windows taken so far
    taken: list[int] = []
    even = iter(even_spread(count))
    free = np.ones(count, dtype=bool)
    while len(taken) < count:
        if len(taken) % 2 == 0:
            index = next(number for number in even if free[number])
        else:
            index = int(np.where(free, nearest, -1).argmax())
        taken.append(index)
        free[index] = False
        nearest = np.minimum(nearest, np.square(places - places[index]).sum(axis=1))
    return taken


def standardise(signals: np.ndarray) -> np.ndarray:
    """[N, F] minus their medians, in units of the interquartile range, clipped to ±`FAR`."""
    low, middle, high = np.percentile(signals, [25, 50, 75], axis=0)
    spread = np.where(high > low, high - low, signals.std(axis=0))
    return ((signals - middle) / np.where(spread > 0, spread, 1)).clip(-FAR, FAR)


def even_spread(count: int) -> list[int]:
    """0 … count - 1 in an order of which every prefix is spread evenly: the van der Corput sequence of base 2."""
    bits = max(1, (count - 1).bit_length())
    turned = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in turned if number < count]


def candidates(count: int, most: int) -> list[int]:
    """At most `most` of `count` windows, evenly spaced."""
    few = min(count, most)
    return [number * count // few for number in range(few)]


@dataclass
class CurationSession(RatingSession):
    """Windows of `footage` in the order in which they are rated."""

    footage: WindowedData
    answers: Ratings
    order: list[Window]
    enough: int
    choices = tuple(range(1, BEST_QUALITY + 1))

    def where(self, thing: Window) -> str:
        name = str(self.footage.readers[thing.part].path).rstrip("/").rpartition("/")[2]  # of a file, or an address
        return f"{name}, frames {thing.first:,} to {thing.stop - 1:,}"


def create_app(session: CurationSession, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address."""
    app = page_app(loopback)
    add_rating(app, session)

    @app.get("/clips/{number}.png")
    async def clip(number: int) -> Response:
        if not 0 <= number < len(session.order):
            raise HTTPException(404, "there is no such clip")
        return moving_picture(session.footage.frames(session.order[number]), session.footage.fps)

    add_page(app, "genie.labeling", "curate_page")
    return app


def curate(config: CurateConfig) -> None:
    """Performs the step of the configuration `curate`, or the next one."""
    keep_freed_memory()
    footage, step = WindowedData(config.data.plain()), config.step
    with one_writer(config.output or footage.folder, "output=") as folder:
        head, quality = Path(config.head or folder / "head.safetensors"), folder / QUALITY_FILE
        ratings = Ratings(Path(config.labels or folder / "labels.csv"), footage)
        if step == "label" or step is None and not ratings.given:
            label(config, footage, ratings)
        elif step == "train":
            train(config, footage, ratings, head)
        elif step == "score":
            score(config, footage, Head.load(head) if config.head or head.exists() else None, quality)
        else:
            score(config, footage, train(config, footage, ratings, head), quality)


def label(config: CurateConfig, footage: WindowedData, ratings: Ratings) -> None:
    """Serves the page until Ctrl-C."""

    def app(loopback: bool) -> FastAPI:
        queue = rating_queue(footage, config.label.candidates)
        session = CurationSession(footage, ratings, queue, config.label.enough)
        print(f"{len(ratings.given)} clips are rated in {ratings.path}; Ctrl-C ends, the same command goes on")
        return create_app(session, loopback)

    ratings.write()  # an error comes before the first rating
    serve_page(app, config.label, "label")


def rating_queue(footage: WindowedData, most: int) -> list[Window]:
    """At most `most` windows from all of the data, in the order in which to rate them."""
    some = [footage.windows[index] for index in candidates(len(footage.windows), most)]
    looks = list(look_at(footage, some, None))
    return [looks[index].window for index in rating_order(as_features(all_signals(looks), SIGNALS))]


def train(config: CurateConfig, footage: WindowedData, ratings: Ratings, path: Path) -> Head:
    """Fits the head, prints its precision and recall on held-out ratings, and saves it."""
    given = ratings.given
    if len(given) < FEWEST or len(set(given.values())) < 2:
        way = f"give {FEWEST} at least, not all the same, with `python -m genie.curate step=label`"
        there = ratings.path.exists()
        count = f"has {len(given)} ratings, of {len(set(given.values()))} kinds" if there else "is not there"
        raise UserError(f"{ratings.path} {count}: {way}")
    settings = config.model_dump(include={"features", "resnet", "num_pictures", "picture_size"})
    looks = list(look_at(footage, list(given), pooled_features(settings, config.device)))
    windows = [look.window for look in looks]
    values = np.array([given[window] for window in windows], dtype=np.float64)
    recordings = [footage.recordings[window] for window in windows]
    by_recording = len(set(recordings)) >= FEWEST
    fit = fit_head(stack(looks), values, recordings if by_recording else windows, settings)
    held_out = "all clips of its recording" if by_recording else "it"
    print(f"{len(windows)} rated clips, the quality of each by a head that was trained without {held_out}:")
    print_agreement(fit, values, config.min_quality)
    fit.head.save(path)
    print(f"head: {path}")
    return fit.head


def print_agreement(fit: RidgeFit, ratings: np.ndarray, threshold: float) -> None:
    """Precision, recall and the kept share of the rated clips, by threshold; "none" for a share of no clips."""
    table = Printed("min_quality", "precision", "recall", "kept", box=None)
    for one in sorted({*THRESHOLDS, float(threshold)}):
        found = agreement(fit.held_out, ratings, one)
        shares = (f"{share:.3f}" if share == share else "none" for share in (found.precision, found.recall))
        cells = (f"{one:g}", *shares, f"{found.kept:.1%}")
        table.add_row(*cells, style="bold" if one == threshold else None)
    print_table(table)


def score(config: CurateConfig, footage: WindowedData, head: Head | None, path: Path) -> None:
    """Writes quality and signals of every window; prints the share of frames above the threshold."""
    network = pooled_features(head.settings, config.device) if head else None
    looks, quality = [], []
    for look in look_at(footage, footage.windows, network):
        if head:
            quality.append(float(head(np.concatenate(look.blocks))))
        looks.append(replace(look, blocks=[]))  # those of a large data set would not fit into memory
    write_scores(path, footage.data, looks, quality if head else None)
    print(f"scores of {len(looks):,} windows: {path}")
    if head is None:
        print("nothing was rated: they are what can be measured, and data.min_quality cannot use them")
        return
    lengths = np.array([look.window.stop - look.window.first for look in looks])
    threshold = config.min_quality
    total = sum(window.stop - window.first for window in footage.windows)
    kept = lengths[np.array(quality) >= threshold].sum() / total
    where = "" if path == footage.folder / QUALITY_FILE else f"data.quality={path} "
    print(f"{kept:.1%} of all frames have {threshold:g} or more: train with {where}data.min_quality={threshold:g}")
