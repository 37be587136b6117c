"""What can be said of a window without ratings: does it move, is it dark, blurred, overlaid with text, seen before?

Dimension letters: `T` frames, `H W` pixels, `N` windows.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from data_modules.image_resize import AreaResize

MEASURED = ("motion", "still", "darkness", "sharpness", "overlay")  # of a window alone
SIGNALS = (*MEASURED, "duplicates")
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
SAME = 4 / 255  # a pixel that changes by less is the same: compressed video flickers by so much
DARK = 0.1
EDGE = 0.1  # between neighbours: more than the shades of a surface
GLANCE = (8, 8)  # what is equal in so many areas,
SHADE = 16  # in steps of so many of 256 levels, looks the same
SMALLEST = 1e-5  # motion and sharpness span decades: their logarithms are compared


def measure(frames: np.ndarray) -> dict[str, float]:
    """Of frames uint8 [T, H, W, 3]:

    motion     mean difference of a pixel from one frame to the next, in [0, 1]
    still      share of frames in which no pixel differs from the frame before
    darkness   share of pixels that are nearly black
    sharpness  mean difference of a pixel from its neighbours, in [0, 1]: low where blurred, high in noise
    overlay    share of pixels that are on an edge and never change: text, frames, logos, and anything that rests
    """
    grey = frames @ GREY  # [T, H, W]
    steps = np.abs(np.diff(grey, axis=0)) if len(grey) > 1 else np.zeros_like(grey)
    edges = np.zeros(grey.shape[1:], dtype=bool)
    mean = grey.mean(axis=0)
    edges[:-1] |= np.abs(np.diff(mean, axis=0)) > EDGE
    edges[:, :-1] |= np.abs(np.diff(mean, axis=1)) > EDGE
    resting = np.ptp(grey, axis=0) < SAME
    around = sum(np.roll(grey, step, axis) for step in (-1, 1) for axis in (1, 2)) / 4
    inside = (slice(None), slice(1, -1), slice(1, -1)) if min(grey.shape[1:]) > 2 else ...
    return {
        "motion": float(steps.mean()),
        "still": float((steps.max(axis=(1, 2)) < SAME).mean()),
        "darkness": float((grey < DARK).mean()),
        "sharpness": float(np.abs(grey - around)[inside].mean()),
        "overlay": float((edges & resting).mean()),
    }


def glance(frames: np.ndarray) -> bytes:
    """What is equal for windows that look the same: rough pictures of the first, a middle and the last frame."""
    some = frames[[0, len(frames) // 2, -1]]
    return (AreaResize(frames.shape[1:3], GLANCE)(some) // SHADE).tobytes()


def count_duplicates(glances: list[bytes]) -> list[int]:
    """For each window: how many of the others look the same."""
    counts = Counter(glances)
    return [counts[one] - 1 for one in glances]


def as_features(rows: list[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    """float64 [N, len(names)] of the signals of windows, those that span decades as logarithms."""
    columns = []
    for name in names:
        column = np.array([row[name] for row in rows], dtype=np.float64)
        columns.append(np.log(column + SMALLEST) if name in ("motion", "sharpness") else column)
    return np.stack(columns, axis=1)
