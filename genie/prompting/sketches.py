"""A sketch becomes a frame in the colours of the data: lines on paper are no picture that a world has ever seen.

1. The paper is the colour that is seen the most; what differs from it is ink. Black on white and white on black are
   the same sketch.
2. The sketch is brought to `DETAIL` x `DETAIL` pixels for each one of the frame, and the ink is separated from the
   paper by Otsu's threshold, which makes the two as different as can be. Specks are dust.
3. A pixel of the frame is drawn on where ink covers half of it, or where the middle of a line or a dot is: what is
   thinner than a pixel of the frame is thickened to one, and the resize loses nothing.
4. The frame is the background of the data. Coloured ink becomes the nearest colour of the palette; each connected
   piece of black, white or grey ink the colour that is seen the most in the data at its place.

The threshold: N. Otsu, A threshold selection method from gray-level histograms, 1979. Everything is deterministic.

Dimension letters: `H W` pixels of the frame; `h w` of the detailed sketch, `DETAIL` times as many.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from genie.common.errors import UserError
from genie.prompting.fitting import fit_picture
from genie.prompting.palette import Palette
from genie.prompting.pictures import to_rgb

DETAIL = 8  # pixels of the sketch for one of the frame
SPECK = DETAIL  # pixels of the sketch: fewer in one piece are dust
CONTRAST = 32  # of 255: less between ink and paper is an empty sheet
COLOURED = 64  # of 255, between the strongest and the weakest channel: less is black, white or grey
TOUCHING = np.ones((3, 3), dtype=bool)  # diagonal neighbours are one piece


def draw_sketch(sketch: Image.Image, name: str, palette: Palette, fit: str) -> np.ndarray:
    """The frame uint8 [H, W, 3] of a sketch in mode RGB or RGBA.

    `fit` as in `fit_picture`; `name`: what messages call the sketch. Raises UserError where nothing is drawn on it.
    """
    height, width = palette.background.shape[:2]
    factor = max(1, max(sketch.size) // (2 * DETAIL * max(height, width)))
    picture = _on_paper(sketch.reduce(factor) if factor > 1 else sketch)
    paper = _paper(picture)
    picture = fit_picture(picture, (DETAIL * height, DETAIL * width), fit, around=paper)
    ink = _ink(np.abs(picture.astype(np.int16) - paper).max(-1).astype(np.uint8))
    if not ink.any():
        raise UserError(f"{name}: nothing is drawn on this sketch that differs from its paper")
    drawn = _drawn(ink)
    colours = _ink_colours(picture, ink)
    frame = palette.background.copy()
    frame[drawn] = palette.colours[palette.nearest(colours[drawn])]
    grey = drawn & (np.ptp(colours, axis=-1) < COLOURED)
    pieces, count = ndimage.label(grey, TOUCHING)
    for piece in range(1, count + 1):
        frame[pieces == piece] = palette.colours[palette.usual(pieces == piece)]
    return frame


def _on_paper(sketch: Image.Image) -> np.ndarray:
    """uint8 [h', w', 3]; what is transparent becomes paper: black behind light ink, otherwise white."""
    if sketch.mode == "RGBA":
        grey, opaque = np.asarray(sketch.convert("LA"), dtype=np.float64).transpose(2, 0, 1)
        light = (grey * opaque).sum() > 127.5 * opaque.sum()
        return to_rgb(sketch, behind=0 if light else 255)
    return to_rgb(sketch)


def _paper(picture: np.ndarray) -> np.ndarray:
    """The most frequent colour [3], of 16 levels a channel, as the median of the pixels of that kind."""
    kinds = (picture >> 4).astype(np.int64) @ (256, 16, 1)
    common = np.bincount(kinds.reshape(-1)).argmax()
    return np.median(picture[kinds == common], axis=0).astype(np.uint8)


def _ink(difference: np.ndarray) -> np.ndarray:
    """bool [h, w] of the difference uint8 [h, w] from the paper: above Otsu's threshold, without specks."""
    counts = np.bincount(difference.reshape(-1), minlength=256)
    below, level_sum = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    paper_mean = level_sum / np.maximum(below, 1)
    ink_mean = (level_sum[-1] - level_sum) / np.maximum(above, 1)
    threshold = int((below * above * (ink_mean - paper_mean) ** 2.0).argmax())
    if ink_mean[threshold] - paper_mean[threshold] < CONTRAST:
        return np.zeros_like(difference, dtype=bool)
    ink = difference > threshold
    pieces, _ = ndimage.label(ink, TOUCHING)
    sizes = np.bincount(pieces.reshape(-1))
    return ink & (sizes >= SPECK)[pieces]


def _drawn(ink: np.ndarray) -> np.ndarray:
    """bool [h, w] → [H, W]: where ink covers half, or the middle of something is: the ridge of the distance from the
    paper, which every piece of ink has, however thin."""
    depth = ndimage.distance_transform_edt(ink)
    middle = ink & (depth == ndimage.maximum_filter(depth, 3))
    return (_blocks(ink).mean((1, 3)) >= 0.5) | _blocks(middle).any((1, 3))


def _ink_colours(picture: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the mean colour of the ink in each pixel of the frame, or in the nearest one that has some."""
    amount = _blocks(ink).sum((1, 3))
    colours = _blocks(picture * ink[..., None]).sum((1, 3)) // np.maximum(amount, 1)[..., None]
    rows, columns = ndimage.distance_transform_edt(amount == 0, return_distances=False, return_indices=True)
    return colours[rows, columns].astype(np.uint8)


def _blocks(detailed: np.ndarray) -> np.ndarray:
    """[h, w, ...] → [H, DETAIL, W, DETAIL, ...]."""
    height, width = detailed.shape[0] // DETAIL, detailed.shape[1] // DETAIL
    return detailed.reshape(height, DETAIL, width, DETAIL, *detailed.shape[2:])
