"""Pictures as environments give them, and as they are recorded: uint8 [H, W, 3].

Dimension letters: `H W` pixels, `C` channels.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from data_modules.environments.values import to_array
from genie.common.errors import UserError

UNIT, BYTES, SIGNED = (0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)  # what black and white are
SLACK = 1e-3  # of the range: what rounding may add
ACCEPTED = (
    "a picture is [H, W, 3], RGBA, grey or channels first, of uint8 or other whole numbers in 0…255, bool, or floats "
    "in 0…1, 0…255 or -1…1"
)


class PictureReader:
    """Callable: a picture in any of the `ACCEPTED` forms → uint8 [H, W, 3], a copy.

    Arrays, torch tensors and images of Pillow are read; of a list of pictures, as of the render mode `rgb_array_list`,
    the last one. An alpha channel is left out. What black and white are is decided once: by the type where it is uint8
    or bool, by the limits of `space`, whose observations the pictures are, or else by the first pictures that are not
    black (`decide` learns from several). Raises UserError for everything else, and for values that contradict it later.
    """

    def __init__(self, name: str, space: gym.Space | None = None) -> None:
        self.name = name
        self.limits = None if space is None else declared_limits(space)
        self.declared, self.black_seen = self.limits is not None, False

    def __call__(self, given: Any, place: str) -> np.ndarray:
        picture = self.read(given, place)
        if picture.dtype == np.uint8 and self.limits in (None, BYTES):
            return np.array(picture, order="C")
        if picture.dtype == np.bool_:
            return picture.astype(np.uint8) * 255
        self.decide([picture], place)
        low, high = self.limits or BYTES
        if picture.dtype.kind != "f" or picture.dtype.itemsize < 4:
            picture = picture.astype(np.float32)
        levels = ((picture - low) * (255 / (high - low))).round().clip(0, 255)
        return np.ascontiguousarray(levels.astype(np.uint8))

    def says_white(self, picture: np.ndarray) -> bool:
        """Whether one that was `read` says by its type, or the space did, what white is."""
        return self.declared or picture.dtype in (np.uint8, np.bool_)

    def read(self, given: Any, place: str) -> np.ndarray:
        """[H, W, 3] with the values that were given; may share their memory."""
        frames = isinstance(given, list | tuple) and given and all(hasattr(one, "shape") for one in given)
        if frames and len(given) > 1 and any(len(one.shape) != 3 for one in given):
            raise self._refusal(f"{len(given)} arrays {list(given[0].shape)}", place)
        try:
            array = to_array(given[-1] if frames or _is_images(given) else given)
        except (TypeError, ValueError, RuntimeError):
            raise self._refusal(type(given).__name__, place) from None
        if array.ndim == 4 and len(array) == 1:
            array = array[0]
        if array.ndim == 2:
            array = array[..., None]
        elif array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
            array = array.transpose(1, 2, 0)
        if array.dtype.kind not in "biuf" or array.size == 0 or array.ndim != 3 or array.shape[2] not in (1, 3, 4):
            raise self._refusal(f"{type(given).__name__} of {array.dtype} {list(np.shape(array))}", place)
        return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]

    def decide(self, pictures: list[np.ndarray], place: str) -> None:
        """Sets what black and white are where the values of all these show it. UserError where they cannot be read."""
        least = float(min(picture.min() for picture in pictures))  # of any nan it is nan
        most = float(max(picture.max() for picture in pictures))
        what = f"{pictures[0].dtype} with values {least:.6g} … {most:.6g}"
        if not all(np.isfinite(picture).all() for picture in pictures):
            raise self._refusal(f"{pictures[0].dtype} with values that are not finite", place)
        if self.limits is None:
            whole = all((picture == np.round(picture)).all() for picture in pictures)
            limits = _limits_of(least, most, whole)
            if limits is None and not least == most == 0:
                raise self._refusal(what, place)
            if limits == SIGNED and self.black_seen:  # that was grey
                raise self._refusal(f"{what} after pictures of 0 all over", place)
            self.limits, self.black_seen = limits, self.black_seen or limits is None
            return
        low, high = self.limits
        slack = SLACK * (high - low)
        if least < low - slack or most > high + slack:
            why = "as its space declares" if self.declared else "as in the pictures before"
            raise self._refusal(f"{what}, not within {low:g} … {high:g} {why}", place)

    def _refusal(self, what: str, place: str) -> UserError:
        return UserError(f"{place}: {self.name} gives {what}; {ACCEPTED}")


def _is_images(given: Any) -> bool:
    """Whether it is a list of images of Pillow."""
    return isinstance(given, list | tuple) and bool(given) and all(hasattr(one, "getbands") for one in given)


def _limits_of(least: float, most: float, whole: bool) -> tuple[float, float] | None:
    """What black and white are where the values of pictures lie between these; None: they do not say."""
    if least >= -SLACK:
        if 0 < most <= 1 + SLACK:
            return UNIT
        # not much more than 1 and no whole numbers: sharpened pictures in 0 … 1 are more likely than almost black ones
        return BYTES if 1 < most <= BYTES[1] + SLACK and (whole or most >= 2) else None
    # a little less than 0 may be a sharpened picture in 0 … 1, too
    return SIGNED if -1 - SLACK <= least <= -0.5 and most <= 1 + SLACK else None


def declared_limits(space: gym.Space) -> tuple[float, float] | None:
    """What black and white are by the limits of a space; None where they do not say."""
    if not isinstance(space, gym.spaces.Box) or space.dtype == np.bool_ or space.low.size == 0:
        return None
    low, high = float(space.low.min()), float(space.high.max())
    deepest = float(np.iinfo(space.dtype).max) if space.dtype.kind == "u" else None
    return (low, high) if (low, high) in (UNIT, BYTES, SIGNED, (0.0, deepest)) else None


def is_picture(space: gym.Space) -> bool:
    """Whether observations are what a person would see: uint8 [H, W, 3]."""
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)


def can_be_picture(space: gym.Space) -> bool:
    """Whether observations can be read as pictures where nothing else is drawn: [H, W], or one or three channels, which
    may come first, of bool or with limits that say what white is. Four channels are more often four grey frames."""
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.bool_ and declared_limits(space) is None:
        return False
    shape = space.shape
    return len(shape) == 2 or len(shape) == 3 and (shape[2] in (1, 3) or shape[0] in (1, 3))
