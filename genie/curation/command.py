"""`python -m genie.curate`: rate, train, score."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from rich.table import Table as Printed

from data_modules.annotations import QUALITY_FILE, Window
from genie.common.config_types import require_number, require_whole
from genie.common.device import keep_freed_memory
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer
from genie.common.tables import print_table
from genie.common.web import check_address, serve_page
from genie.curation.choosing import candidates, rating_order
from genie.curation.footage import Footage
from genie.curation.head import Fit, Head, agreement, fit_head
from genie.curation.page import Session, create_app
from genie.curation.pictures import pooled_features
from genie.curation.ratings import BEST, Ratings
from genie.curation.scoring import all_signals, look_at, stack, write_scores
from genie.curation.signals import SIGNALS, as_features

STEPS = ("label", "train", "score")
FEWEST = 10  # ratings that a head is trained on
THRESHOLDS = (2.0, 2.5, 3.0, 3.5, 4.0)  # shown beside the one that was asked for


@dataclass
class Files:
    """Where everything is."""

    labels: Path
    head: Path
    quality: Path


def curate(config: dict[str, Any]) -> None:
    """Does the step of the configuration `curate`, or what comes next. Raises UserError for a value that cannot be."""
    check(config)
    keep_freed_memory()
    footage = Footage(config["data"])
    with one_writer(config["output"] or footage.folder, "output=") as folder:
        curate_into(folder, footage, config)


def curate_into(folder: Path, footage: Footage, config: dict[str, Any]) -> None:
    """`curate` in a folder that nobody else writes into."""
    files = Files(
        labels=Path(config["labels"] or folder / "labels.csv"),
        head=Path(config["head"] or folder / "head.safetensors"),
        quality=folder / QUALITY_FILE,
    )
    ratings = Ratings(files.labels, footage)
    step = config["step"]
    if step == "label" or step is None and not ratings.given:
        label(config, footage, ratings)
    elif step == "train":
        train(config, footage, ratings, files)
    elif step == "score":
        score(config, footage, Head.load(files.head) if config["head"] or files.head.exists() else None, files)
    else:
        score(config, footage, train(config, footage, ratings, files), files)


def check(config: dict[str, Any]) -> None:
    """Raises UserError for values that no data could make right."""
    if config["step"] not in (None, *STEPS):
        raise UserError(f"there is no step={config['step']}, only {', '.join(STEPS)}, or null for what comes next")
    require_whole(config, "num_pictures", "picture_size")
    require_number(config, "min_quality", above=1, most=BEST)
    require_whole(config["label"], "candidates", "enough", prefix="label.")
    check_address(config["label"], "label")


def label(config: dict[str, Any], footage: Footage, ratings: Ratings) -> None:
    """Serves the page until Ctrl-C."""
    settings = config["label"]

    def app(loopback: bool) -> FastAPI:
        session = Session(footage, ratings, rating_queue(footage, settings["candidates"]), settings["enough"])
        print(f"{len(ratings.given)} clips are rated in {ratings.path}; Ctrl-C ends, the same command goes on")
        return create_app(session, loopback)

    ratings.write()  # whether it can be: before the first rating
    serve_page(app, settings, "label")


def rating_queue(footage: Footage, most: int) -> list[Window]:
    """At most `most` windows from all of the data, in the order in which to rate them."""
    some = [footage.windows[index] for index in candidates(len(footage.windows), most)]
    looks = list(look_at(footage, some, None))
    return [looks[index].window for index in rating_order(as_features(all_signals(looks), SIGNALS))]


def train(config: dict[str, Any], footage: Footage, ratings: Ratings, files: Files) -> Head:
    """Fits the head, says how well it knows what it was not shown, and keeps it."""
    given = ratings.given
    if len(given) < FEWEST or len(set(given.values())) < 2:
        way = f"give {FEWEST} at least, not all the same, with `python -m genie.curate step=label`"
        there = ratings.path.exists()
        count = f"has {len(given)} ratings, of {len(set(given.values()))} kinds" if there else "is not there"
        raise UserError(f"{ratings.path} {count}: {way}")
    settings = {name: config[name] for name in ("features", "resnet", "num_pictures", "picture_size")}
    looks = list(look_at(footage, list(given), pooled_features(settings, config["device"])))
    windows = [look.window for look in looks]
    values = np.array([given[window] for window in windows], dtype=np.float64)
    recordings = [footage.recordings[window] for window in windows]
    by_recording = len(set(recordings)) >= FEWEST
    fit = fit_head(stack(looks), values, recordings if by_recording else windows, settings)
    held_out = "all clips of its recording" if by_recording else "it"
    print(f"{len(windows)} rated clips, the quality of each by a head that was trained without {held_out}:")
    print_agreement(fit, values, config["min_quality"])
    fit.head.save(files.head)
    print(f"head: {files.head}")
    return fit.head


def print_agreement(fit: Fit, ratings: np.ndarray, threshold: float) -> None:
    """Precision, recall and the kept share of the rated clips, at several thresholds; "none" where there is no clip
    of which a share could be taken."""
    table = Printed("min_quality", "precision", "recall", "kept", box=None)
    for one in sorted({*THRESHOLDS, float(threshold)}):
        found = agreement(fit.held_out, ratings, one)
        shares = (f"{share:.3f}" if share == share else "none" for share in (found.precision, found.recall))
        cells = (f"{one:g}", *shares, f"{found.kept:.1%}")
        table.add_row(*cells, style="bold" if one == threshold else None)
    print_table(table)


def score(config: dict[str, Any], footage: Footage, head: Head | None, files: Files) -> None:
    """Writes the quality of every window, and what is measured; says how much is good enough."""
    network = pooled_features(head.settings, config["device"]) if head else None
    looks, quality = [], []
    for look in look_at(footage, footage.windows, network):
        if head:
            quality.append(float(head(np.concatenate(look.blocks))))
        looks.append(replace(look, blocks=[]))  # of much data they would fill the memory
    write_scores(files.quality, footage.data, looks, quality if head else None)
    print(f"scores of {len(looks):,} windows: {files.quality}")
    if head is None:
        print("nothing was rated: they are what can be measured, and data.min_quality cannot use them")
        return
    lengths = np.array([look.window.stop - look.window.first for look in looks])
    threshold = config["min_quality"]
    total = sum(window.stop - window.first for window in footage.windows)
    kept = lengths[np.array(quality) >= threshold].sum() / total
    where = "" if files.quality == footage.folder / QUALITY_FILE else f"data.quality={files.quality} "
    print(f"{kept:.1%} of all frames have {threshold:g} or more: train with {where}data.min_quality={threshold:g}")
