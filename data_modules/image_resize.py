"""Exact area resize of uint8 frames, and the ways to fit a picture into a size (`data.fit`).

Each target pixel is the mean of the source area it covers, rounded. The overlaps of source and target pixels are whole
numbers once both grids are scaled to a common one, so the sums are exact in floating point and the result does not
depend on threads, batch size or machine.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array, kron


def overlap_weights(source: int, target: int) -> np.ndarray:
    """Whole-number overlaps [target, source] of two grids over one length; every row has the same sum."""
    common = math.gcd(source, target)
    source_size, target_size = target // common, source // common  # length of one pixel on the common grid
    starts = np.arange(target)[:, None] * target_size
    pixels = np.arange(source)[None, :] * source_size
    overlap = np.minimum(starts + target_size, pixels + source_size) - np.maximum(starts, pixels)
    return np.clip(overlap, 0, None)


class AreaResize:
    """Callable uint8 [N, H, W, C] -> uint8 [N, *target, C]; the identity when the sizes are equal."""

    def __init__(self, source: tuple[int, int], target: tuple[int, int], channels: int = 3):
        self.source, self.target, self.channels = (source[0], source[1]), (target[0], target[1]), channels
        rows, columns = (overlap_weights(s, t) for s, t in zip(source, target, strict=True))
        self.area = int(rows[0].sum() * columns[0].sum())
        self.dtype = np.float32 if self.area * 255 < 2**24 else np.float64  # whole numbers stay exact below this
        # A target pixel covers few of the source: most weights are 0.
        self.rows = csr_array(rows.astype(self.dtype))  # [H', H]
        # One product over (column, channel) pairs is much faster than a batch of products with C columns.
        columns, identity = csr_array(columns.astype(self.dtype)), np.eye(channels, dtype=self.dtype)
        self.columns = kron(columns, identity, "csr")  # [W'C, WC]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        if self.source == self.target:
            return frames
        sums = np.empty((len(frames), self.target[0], self.target[1] * self.channels), dtype=self.dtype)
        for number, frame in enumerate(frames):  # one by one: large ones take much room as floats
            flat = frame.reshape(self.source[0], -1).astype(self.dtype)  # [H, W * C]
            sums[number] = (self.columns @ (self.rows @ flat).T).T
        # Half is rounded up; adding it as a whole number keeps the division's result on the right side.
        mean = np.floor((2 * sums + self.area) / (2 * self.area))
        return mean.astype(np.uint8).reshape(len(frames), *self.target, self.channels)


class Fit:
    """Callable uint8 [N, H, W, 3] -> uint8 [N, *target, 3], by the exact area resize.

    how: `squeeze` changes the aspect ratio, the others keep it: `pad` shows the whole picture between black borders,
    `pad_edge` between borders of its outermost pixels, `crop` the largest part in its middle that fills the target.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int], how: str):
        (height, width), (rows, columns) = source, target
        self.source, self.target, self.how = (height, width), (rows, columns), how
        self.used, self.filled = self.source, self.target  # (H, W) of the part that is read, and of where it goes
        wide = width * rows > height * columns  # wider than the target
        if how == "crop":
            used = (height, round(height * columns / rows)) if wide else (round(width * rows / columns), width)
            self.used = max(1, used[0]), max(1, used[1])
        elif how != "squeeze":
            filled = (round(columns * height / width), columns) if wide else (rows, round(rows * width / height))
            self.filled = max(1, filled[0]), max(1, filled[1])
        self.corner = _middle(self.source, self.used)  # (top, left) of the part in the source
        self.place = _middle(self.target, self.filled)  # and in the target
        self.resize = AreaResize(self.used, self.filled)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        (top, left), (height, width) = self.corner, self.used
        resized = self.resize(frames[:, top : top + height, left : left + width])
        if self.filled == self.target:
            return resized
        (above, before), (rows, columns) = self.place, self.filled
        borders = (above, self.target[0] - rows - above), (before, self.target[1] - columns - before)
        return np.pad(resized, ((0, 0), *borders, (0, 0)), mode="edge" if self.how == "pad_edge" else "constant")

    def points(self, points: np.ndarray) -> np.ndarray:
        """Positions in the target of float32 [..., 2] points (x, y) of the source; NaN for those cropped away. In
        pixels; the centre of the top left pixel is (0, 0), half a pixel inside the edge of the picture."""
        if self.source == self.target:
            return points
        corner, used, filled, place = (
            np.array(pair[::-1], dtype=np.float64) for pair in (self.corner, self.used, self.filled, self.place)
        )
        inside = points - corner.astype(np.float32) + 0.5
        moved = inside * (filled / used).astype(np.float32) - 0.5 + place.astype(np.float32)
        if self.used != self.source:
            moved[((inside < 0) | (inside > used)).any(-1)] = np.nan
        return moved


fit_for = lru_cache(maxsize=8)(Fit)  # few: one for large frames takes MB


def _middle(outer: tuple[int, int], inner: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of a rectangle `inner` in the middle of `outer`."""
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
