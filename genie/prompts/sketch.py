"""Sketches, drawn in the colours of a world's data, as no world has ever seen lines on paper.

1. The paper is the most frequent colour; what differs from it is ink. Black on white and white on black are equivalent.
2. The sketch is resized to `DETAIL` x `DETAIL` pixels for each one of the frame. Ink is separated from the paper by
   Otsu's threshold (N. Otsu, A threshold selection method from gray-level histograms, 1979). Specks are removed.
3. A pixel of the frame is drawn on where ink covers half of it, or where the middle of a line or a dot is: thin lines
   are thickened to one pixel of the frame and not lost by the resize.
4. The frame is the background of the data. Coloured ink becomes the nearest colour of the palette; each connected piece
   of black, white or grey ink the colour that is seen the most in the data at its place.

Everything is deterministic.

Dimension letters: `K` colours, `n` frames or pixels, `H W` pixels of the frame; `h w` of the detailed sketch, `DETAIL`
times as many.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageColor
from scipy import ndimage

from genie.common.errors import UserError
from genie.prompts.data_clips import open_data
from genie.prompts.images import fit_picture, to_rgb

FRAMES = 256  # of the training split, evenly spaced
COLOURS = 8
FOREGROUND = 32  # of 255, in any channel: a pixel this far from the background is foreground
BIN = 16  # of 255: width of the bins in which colours are counted
APART = 40  # distance in RGB: nearer ones are shades of one colour
WEAK = 0.02  # of the strongest colour's strength: weaker ones are edges between things, or from an odd frame
NEAR = 1 / 16  # of the picture: standard deviation of the Gaussian that blurs places
ANYWHERE = 1e-3  # weight of what is seen elsewhere: it decides where nothing was ever seen
DETAIL = 8  # pixels of the sketch for one of the frame
SPECK = DETAIL  # pixels of the sketch: smaller pieces are dust
CONTRAST = 32  # of 255: less between ink and paper is an empty sheet
COLOURED = 64  # of 255, between the strongest and the weakest channel: less is black, white or grey
TOUCHING = np.ones((3, 3), dtype=bool)  # diagonal neighbours are one piece


@dataclass(frozen=True)
class Palette:
    """`background` uint8 [H, W, 3]; `colours` uint8 [K, 3], the strongest first; `places` float [K, H, W]: the share of
    each colour's pixels in a frame that lie around a pixel."""

    background: np.ndarray
    colours: np.ndarray
    places: np.ndarray

    def nearest(self, colours: np.ndarray) -> np.ndarray:
        """uint8 [..., 3] → int64 [...], the index of the nearest of the K colours."""
        given = colours.astype(np.float32)
        return np.stack([((given - colour) ** 2).sum(-1) for colour in self.colours]).argmin(0)

    def usual(self, where: np.ndarray) -> int:
        """The index of the colour that is seen the most in the part `where` bool [H, W] of the frames."""
        return int((self.places[:, where].sum(1) + ANYWHERE * self.places.sum((1, 2))).argmax())


def palette_of_data(data: dict, image_size: tuple[int, int]) -> Palette:
    """The palette of the training frames of a run; `data`: the group of its configuration.

    The background is the median of each pixel; the colours are those of the foreground (`_strongest`). Raises UserError
    for missing data, and data without foreground.
    """
    try:
        module = open_data(data, image_size, num_frames=1)
    except UserError as error:
        said = f"a sketch gets the colours of the training data, and {error}; or give prompt_palette="
        raise UserError(said) from error
    reader, episodes = module.splits["train"]
    rows = np.concatenate([np.arange(first, end) for first, end in episodes])
    count = min(FRAMES, len(rows))
    frames = np.concatenate([reader.frames(row, row + 1) for row in rows[np.arange(count) * len(rows) // count]])
    background = module.info.background.transpose(1, 2, 0)
    seen = (np.abs(frames.astype(np.int16) - background) > FOREGROUND).any(-1)  # [n, H, W]
    if not seen.any():
        raise UserError("nothing moves in the training data, so a sketch finds no colours there: give prompt_palette=")
    pixels, behind = frames[seen], np.broadcast_to(background, frames.shape)[seen]
    colours = _strongest(pixels, behind, np.nonzero(seen)[0])
    number = np.full(seen.shape, -1)
    number[seen] = _from_blends(pixels, behind, colours).argmin(0)
    around = [NEAR * side for side in image_size]
    places = [ndimage.gaussian_filter(_shares(number == k), around, mode="nearest") for k in range(len(colours))]
    return Palette(background, colours, np.stack(places))


def _shares(seen: np.ndarray) -> np.ndarray:
    """float64 [H, W] of bool [n, H, W]: where a colour is seen; all frames that show it have the same weight."""
    return (seen / np.maximum(seen.sum((1, 2), keepdims=True), 1)).mean(0)


def palette_of_names(names: Any, image_size: tuple[int, int]) -> Palette:
    """The palette of a list of colours: the background's, then the others, as [r, g, b], a name or '#rrggbb'.

    Raises UserError for anything else.
    """
    try:
        first, *others = colours = [ImageColor.getrgb(name)[:3] if isinstance(name, str) else name for name in names]
        if not others or not all(
            len(one) == 3 and all(type(c) is int and 0 <= c <= 255 for c in one) for one in colours
        ):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(
            f"prompt_palette={names}: give the background's colour and one or more others, as in [[144,72,17],white]"
        ) from error
    background = np.broadcast_to(np.array(first, dtype=np.uint8), (*image_size, 3))
    return Palette(background, np.array(others, dtype=np.uint8), np.ones((len(others), *image_size)))


def _strongest(pixels: np.ndarray, behind: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The colours uint8 [K, 3], strongest first, of `pixels` uint8 [n, 3] before a background `behind` them [n, 3].

    The strength of a colour, in a bin of similar ones, is the number of frames with it (`frame` int64 [n]: that of a
    pixel) times its squared distance from the background. Colours that may be blends of a stronger one with the
    background, as at edges, are left out.
    """
    bins = (pixels // BIN).astype(np.int64) @ (256, 16, 1)
    distance = np.bincount(bins, ((pixels.astype(np.float32) - behind) ** 2).sum(-1)) / np.maximum(np.bincount(bins), 1)
    strength = distance * np.bincount(np.unique(frame * 4096 + bins) % 4096, minlength=len(distance))
    found = np.empty((0, 3), dtype=np.uint8)
    for number in np.argsort(-strength, kind="stable"):
        if len(found) == COLOURS or strength[number] < WEAK * strength.max():
            break
        inside = bins == number
        exact, counts = np.unique(pixels[inside], axis=0, return_counts=True)
        colour, ground = exact[counts.argmax()], np.median(behind[inside], axis=0)
        if not len(found) or _from_blends(colour[None], ground[None], found).min() > APART:
            found = np.concatenate([found, colour[None]])
    return found


def _from_blends(pixels: np.ndarray, behind: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Distances [K, n] of `pixels` [n, 3] to the blends of each of `colours` [K, 3] with the background [n, 3]."""
    pixels, behind = pixels.astype(np.float32), behind.astype(np.float32)
    distances = []
    for colour in colours.astype(np.float32):
        step = colour - behind
        share = ((pixels - behind) * step).sum(-1) / np.maximum((step**2).sum(-1), 1)
        distances.append(np.linalg.norm(pixels - behind - share.clip(0, 1)[:, None] * step, axis=-1))
    return np.stack(distances)


def draw_sketch(sketch: Image.Image, name: str, palette: Palette, fit: str) -> np.ndarray:
    """The frame uint8 [H, W, 3] of a sketch in mode RGB or RGBA.

    `fit` as in `fit_picture`; `name`: used in messages. Raises UserError for an empty sketch.
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
    """uint8 [h', w', 3]; transparent parts become paper: black behind light ink, otherwise white."""
    if sketch.mode == "RGBA":
        grey, opaque = np.asarray(sketch.convert("LA"), dtype=np.float64).transpose(2, 0, 1)
        light = (grey * opaque).sum() > 127.5 * opaque.sum()
        return to_rgb(sketch, behind=0 if light else 255)
    return to_rgb(sketch)


def _paper(picture: np.ndarray) -> np.ndarray:
    """The most frequent colour [3], of 16 levels a channel, as the median of its pixels."""
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
    """bool [h, w] → [H, W]: where ink covers half, or the ridge of the distance from the paper is, which every piece of
    ink has, however thin."""
    depth = ndimage.distance_transform_edt(ink)
    middle = ink & (depth == ndimage.maximum_filter(depth, 3))
    return (_blocks(ink).mean((1, 3)) >= 0.5) | _blocks(middle).any((1, 3))


def _ink_colours(picture: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the mean colour of the ink in each pixel of the frame, or in the nearest one with ink."""
    amount = _blocks(ink).sum((1, 3))
    colours = _blocks(picture * ink[..., None]).sum((1, 3)) // np.maximum(amount, 1)[..., None]
    rows, columns = ndimage.distance_transform_edt(amount == 0, return_distances=False, return_indices=True)
    return colours[rows, columns].astype(np.uint8)


def _blocks(detailed: np.ndarray) -> np.ndarray:
    """[h, w, ...] → [H, DETAIL, W, DETAIL, ...]."""
    height, width, *rest = detailed.shape
    return detailed.reshape(height // DETAIL, DETAIL, width // DETAIL, DETAIL, *rest)
