"""Where a video changes from one scene to the next, so that no clip goes across (`data.videos.cuts=detect`).

A cut is a jump: a change from one frame to the next, of pixels or of colours, that stands out from all changes of the
few frames around it. Movement is large in several frames and a flash changes the picture twice, so neither stands out;
noise changes all pixels but no colours. What goes over slowly (a fade) is not found.
"""

from collections.abc import Iterable

import numpy as np

SIZE = 32  # pixels of the thumbnails: of height and width
LEVELS = 4  # of each colour in a histogram
AROUND = 3  # frames before and after that a jump has to stand out from


def changes(thumbnails: Iterable[tuple[int, np.ndarray]], num_frames: int) -> np.ndarray:
    """float32 [N, 2] in [0, 1]: how much each frame differs from the one before, in its pixels (mean absolute
    difference) and in its colours (half the sum of the differences of their histograms).

    thumbnails: (number, uint8 [SIZE, SIZE, 3]) of the frames that there are; the others differ by nothing.
    """
    found = np.zeros((num_frames, 2), dtype=np.float32)
    before: tuple[np.ndarray, np.ndarray] | None = None
    for number, thumbnail in thumbnails:
        pixels, colours = thumbnail.astype(np.int16), _histogram(thumbnail)
        if before is not None and 0 <= number < num_frames:
            found[number] = np.abs(pixels - before[0]).mean() / 255, np.abs(colours - before[1]).sum() / 2
        before = pixels, colours
    return found


def find_cuts(differences: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [C]: the numbers of the frames that begin a new scene, of `changes` [N, 2].

    threshold: by how much a change has to stand out from all around it, in (0, 1).
    """
    padded = np.pad(differences, ((AROUND, AROUND), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0)  # [N, 2, window]
    around = np.delete(windows, AROUND, axis=-1).max(-1)
    return np.flatnonzero((differences - around > threshold).any(1))


def scenes(cuts: np.ndarray, num_rows: int) -> np.ndarray:
    """int64 [E, 2]: first and one past the last row of each scene, where new ones begin at the rows `cuts`."""
    inner = np.unique(cuts[(cuts > 0) & (cuts < num_rows)])
    bounds = np.concatenate([[0], inner, [num_rows]]).astype(np.int64)
    return np.stack([bounds[:-1], bounds[1:]], axis=1)


def _histogram(thumbnail: np.ndarray) -> np.ndarray:
    """float [LEVELS ** 3], the share of pixels of each colour."""
    levels = thumbnail.reshape(-1, 3) // (256 // LEVELS)
    codes = (levels[:, 0].astype(np.intp) * LEVELS + levels[:, 1]) * LEVELS + levels[:, 2]
    return np.bincount(codes, minlength=LEVELS**3) / len(codes)
