"""Windows in numbers: what is measured, what a network sees, and the file of qualities that training reads."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from data_modules.annotations import Table, Window, write_table
from data_modules.worker_loader import DamagedData
from genie.curation.footage import Footage
from genie.curation.pictures import PooledFeatures
from genie.curation.signals import MEASURED, SIGNALS, as_features, count_duplicates, glance, measure


@dataclass
class Look:
    """What is known of a window. `blocks`: its features by kind, [D] each."""

    window: Window
    signals: dict[str, float]  # without the duplicates, which only all windows together tell
    glance: bytes
    blocks: list[np.ndarray]


def look_at(footage: Footage, windows: list[Window], network: PooledFeatures | None) -> Iterator[Look]:
    """A look at one window after the other, with progress on a terminal; features without a network are the signals.

    Windows that cannot be read are named and left out; with `data.on_error=raise` they are a DamagedData.
    """
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    for window in track(windows, "looking at clips", console=console, transient=True):
        try:
            frames = footage.frames(window)
        except DamagedData as error:
            if footage.on_error == "raise":
                raise
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        signals = measure(frames)
        blocks = [as_features([signals], MEASURED)[0]]
        if network is not None:
            blocks.append(network(frames))
        yield Look(window, signals, glance(frames), blocks)


def stack(looks: list[Look]) -> list[np.ndarray]:
    """The features of N windows by kind, [N, D] each."""
    return [np.stack(block) for block in zip(*(look.blocks for look in looks), strict=True)]


def all_signals(looks: list[Look]) -> list[dict[str, float]]:
    """Of each window the `SIGNALS`; duplicates are counted among these windows."""
    counts = count_duplicates([look.glance for look in looks])
    return [look.signals | {"duplicates": count} for look, count in zip(looks, counts, strict=True)]


def write_scores(path: Path, data: dict[str, dict], looks: list[Look], quality: list[float] | None) -> None:
    """Writes quality.csv for N windows; without `quality` [N] its column is empty."""
    values = [""] * len(looks) if quality is None else [f"{value:.3f}" for value in quality]
    rows = {
        look.window: {"quality": value} | {name: f"{signals[name]:.5g}" for name in SIGNALS}
        for look, value, signals in zip(looks, values, all_signals(looks), strict=True)
    }
    write_table(path, Table(data, rows), ["quality", *SIGNALS])
