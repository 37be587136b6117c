"""Exact area resize of uint8 frames: each target pixel is the mean of the source area it covers, rounded.

The overlaps of source and target pixels are whole numbers once both grids are scaled to a common one, so the
sums are exact in floating point and the result does not depend on threads, batch size or machine.
"""

import math

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
        self.source, self.target, self.channels = tuple(source), tuple(target), channels
        rows, columns = (overlap_weights(s, t) for s, t in zip(source, target, strict=True))
        self.area = int(rows[0].sum() * columns[0].sum())
        self.dtype = np.float32 if self.area * 255 < 2**24 else np.float64  # whole numbers stay exact below this
        # A target pixel covers few of the source: most weights are 0.
        self.rows = csr_array(rows.astype(self.dtype))  # [H', H]
        # One product over (column, channel) pairs is much faster than a batch of products with C columns.
        self.columns = kron(
            csr_array(columns.astype(self.dtype)), np.eye(channels, dtype=self.dtype), "csr"
        )  # [W'C, WC]

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
