"""Observations of environments: the screen as a frame uint8 [H, W, 3], or the state as a vector.

The screen is the observation where that is a picture, else what the environment draws. MuJoCo draws on a machine
without a display by EGL, else by OSMesa, unless `MUJOCO_GL` is set. Whether one of them works is only known after a
trial, and a process can try only one: a subprocess tries.

"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from data_modules.environments.values import shown, state_of, to_array
from data_modules.image_resize import AreaResize
from genie.common.errors import UserError

WITHOUT_DISPLAY = ("egl", "osmesa")  # the faster one first; both draw with the processor where there is no GPU
TRIAL = "import mujoco; mujoco.GLContext(16, 16).make_current()"
ADVICE = "apt-get install libegl1 libgl1 (EGL) or libosmesa6 (OSMesa), or set another MUJOCO_GL"
UNIT, BYTES, SIGNED = (0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)  # values of black and white
SLACK = 1e-3  # share of the range that rounding may add
ACCEPTED = (
    "a picture is [H, W, 3], RGBA, grey or channels first, of uint8 or other whole numbers in 0…255, bool, or floats "
    "in 0…1, 0…255 or -1…1"
)
# Console frames after a reset until the slowest Atari games draw themselves, and the share of pixels that then differ:
# the emulator holds the reset switch first, when Pong, AirRaid, Koolaid, SirLancelot and Turmoil show other colours or
# nothing. Measured on the 104 games of ale-py 0.12: 67% to 100% of the pixels there, at most 1% in the others.
SETTLED, DIFFERENT = 2, 0.5


def is_headless() -> bool:
    return sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@functools.cache
def find_opengl() -> str | None:
    """MuJoCo's name of the working renderer, which is also set as `MUJOCO_GL`; None where none works."""
    chosen = os.environ.get("MUJOCO_GL")
    if chosen is None and not is_headless():
        return "glfw"
    for name in WITHOUT_DISPLAY if chosen is None else (chosen,):
        environment = os.environ | {"MUJOCO_GL": name}
        if subprocess.run([sys.executable, "-c", TRIAL], env=environment, capture_output=True).returncode == 0:
            os.environ["MUJOCO_GL"] = name
            return name
    return None


class PictureReader:
    """Callable: a picture in any of the `ACCEPTED` forms → uint8 [H, W, 3], a copy.

    Reads arrays, torch tensors and images of Pillow; of a list of pictures, as of the render mode `rgb_array_list`, the
    last one. An alpha channel is dropped. The values of black and white are determined once: by the dtype where it is
    uint8 or bool, by the limits of `space`, the space of the pictures, or else by the first pictures that are not black
    (`decide` uses several). Raises UserError for everything else, and for later values that contradict them.
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
        """Whether the dtype of a `read` picture, or the space, determines the value of white."""
        return self.declared or picture.dtype in (np.uint8, np.bool_)

    def read(self, given: Any, place: str) -> np.ndarray:
        """[H, W, 3] with the given values; may share their memory."""
        listed = isinstance(given, list | tuple) and given
        frames = listed and all(hasattr(one, "shape") for one in given)
        if frames and len(given) != 1 and any(len(one.shape) != 3 for one in given):
            raise self._refusal(f"{len(given)} arrays {list(given[0].shape)}", place)
        try:
            images = listed and all(hasattr(one, "getbands") for one in given)
            array = to_array(given[-1] if frames or images else given)
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
        """Determines the values of black and white from several pictures, if they show them. UserError for values that
        cannot be read."""
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


def _limits_of(least: float, most: float, whole: bool) -> tuple[float, float] | None:
    """The values of black and white of pictures with values from `least` to `most`; None where they are ambiguous."""
    if least >= -SLACK:
        if 0 < most <= 1 + SLACK:
            return UNIT
        # Fractions slightly above 1 are more likely in sharpened pictures in 0 … 1 than in almost black ones in 0 …
        # 255.
        return BYTES if 1 < most <= BYTES[1] + SLACK and (whole or most >= 2) else None
    # Values slightly below 0 may also be of a sharpened picture in 0 … 1.
    return SIGNED if -1 - SLACK <= least <= -0.5 and most <= 1 + SLACK else None


def declared_limits(space: gym.Space) -> tuple[float, float] | None:
    """The values of black and white by the limits of a space; None where these do not determine them."""
    if not isinstance(space, gym.spaces.Box) or space.dtype == np.bool_ or space.low.size == 0:
        return None
    low, high = float(space.low.min()), float(space.high.max())
    deepest = float(np.iinfo(space.dtype).max) if space.dtype.kind == "u" else None
    return (low, high) if (low, high) in (UNIT, BYTES, SIGNED, (0.0, deepest)) else None


def is_picture(space: gym.Space) -> bool:
    """Whether observations are pictures uint8 [H, W, 3]."""
    return isinstance(space, gym.spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)


def can_be_picture(space: gym.Space) -> bool:
    """Whether observations can be read as pictures where nothing is drawn: [H, W], or one or three channels, first or
    last, of bool or with limits that determine white. Four channels are more often four grey frames."""
    if not isinstance(space, gym.spaces.Box) or space.dtype != np.bool_ and declared_limits(space) is None:
        return False
    shape = space.shape
    return len(shape) == 2 or len(shape) == 3 and (shape[2] in (1, 3) or shape[0] in (1, 3))


Box = tuple[int, int, int, int]  # top, bottom, left, right in screen pixels


def one_line(space: gym.Space) -> str:
    """The text of a space on one line."""
    return " ".join(str(space).split())


class Viewport:
    """Callable: a screen uint8 [H', W', 3] → a frame uint8 [*image_size, 3]. crop: of the screen, None for all of it.
    Raises UserError for an invalid crop or size."""

    def __init__(self, env_id: str, screen_size: tuple[int, int], crop: Box | None, image_size: tuple[int, int]):
        if len(image_size) != 2 or not all(isinstance(size, int) and size > 0 for size in image_size):
            raise UserError(f"data.image_size={list(image_size)} must be two positive whole numbers, [height, width]")
        if crop is not None and len(crop) != 4:
            raise UserError(
                f"data.recorder.crop={crop} must be [top, bottom, left, right], or null for the whole screen"
            )
        height, width = screen_size
        top, bottom, left, right = self.crop = tuple(crop or (0, height, 0, width))
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise UserError(
                f"data.recorder.crop={list(self.crop)} (top, bottom, left, right) is not inside the "
                f"{height}x{width} screen of {env_id}"
            )
        self.image_size = (image_size[0], image_size[1])
        self.resize = AreaResize((bottom - top, right - left), self.image_size)

    def __call__(self, screen: np.ndarray) -> np.ndarray:
        top, bottom, left, right = self.crop
        return self.resize(screen[None, top:bottom, left:right])[0]


class StateVector:
    """Callable: an observation → float32 [n], a copy. The parts of a dictionary are concatenated in its order.

    Raises UserError for spaces that are no vector of numbers, and for states of another size than their space, not
    finite or too large for float32.
    """

    def __init__(self, env_id: str, space: gym.Space):
        self.names = list(space) if isinstance(space, spaces.Dict) else None
        parts = space.values() if isinstance(space, spaces.Dict) else [space]
        if not all(isinstance(part, spaces.Box) and len(part.shape) <= 1 for part in parts):
            raise UserError(
                f"environment '{env_id}' observes {one_line(space)}, which is no vector: record what it shows, "
                "data.recorder.observe=frames"
            )
        self.size = sum(int(np.prod(part.shape or ())) for part in parts)
        if self.size == 0:
            raise UserError(f"environment '{env_id}' observes {one_line(space)}, which has no numbers")

    def __call__(self, observation: Any, place: str) -> np.ndarray:
        if self.names is None:
            return state_of([observation], self.size, place)
        if not isinstance(observation, Mapping) or not set(self.names) <= set(observation):
            raise UserError(f"{place}: the observation is {shown(observation)}, not a dict of {', '.join(self.names)}")
        return state_of([observation[name] for name in self.names], self.size, place)


class Screen:
    """The screen uint8 [H, W, 3] of an environment, of one size for its lifetime.

    render: makes the environment draw. The source stays the same: the observation where it is a uint8 picture, else
    `render()`, else an observation that can be read as a picture (`can_be_picture`).
    Raises UserError where nothing is shown, or something else than a picture.
    """

    def __init__(self, env: gym.Env, env_id: str, render: Callable[[], Any]) -> None:
        self.env, self.env_id, self.render = env, env_id, render
        self.size: tuple[int, int] | None = None
        self.reader: PictureReader | None = None
        self.drawn = False  # whether `render` is the source

    def look(self, given: Any, place: str) -> np.ndarray:
        """A `given` picture as uint8, a copy. place: for error messages."""
        assert self.reader is not None  # `given` has made it
        picture = self.reader(given, place)
        size = picture.shape[:2]
        if self.size not in (None, size):
            raise UserError(
                f"{place}: the screen is {size[0]}x{size[1]} and was {self.size[0]}x{self.size[1]} before, but a "
                "recording has one size: make it draw that, or record its states, data.recorder.observe=states"
            )
        self.size = size
        return picture

    def given(self, observation: Any, place: str) -> Any:
        """The unconverted screen, of the environment or its `observation`. To be called once a step: a list of frames
        is empty afterwards."""
        space, drawn = self.env.observation_space, None
        if self.reader is None:
            drawn = None if is_picture(space) else self._drawn()
            self.drawn = drawn is not None
            if not (self.drawn or is_picture(space) or can_be_picture(space)):
                raise UserError(f"environment '{self.env_id}' shows no screen: {self._advice()}")
            self.reader = PictureReader(*(("render()", None) if self.drawn else ("the observation", space)))
            return drawn if self.drawn else observation
        given = self._drawn() if self.drawn else observation
        if given is None:
            raise UserError(f"{place}: render() gives no picture, as it did before")
        return given

    def _drawn(self) -> Any:
        """The result of `render`; None where nothing is drawn."""
        by_mujoco = hasattr(self.env.unwrapped, "mujoco_renderer") or self.env_id.startswith("dm_control/")
        if by_mujoco and find_opengl() is None:
            raise UserError(f"nothing here draws the screen of {self.env_id}: {ADVICE}")
        picture = None if self.env.render_mode is None else self.render()
        return None if isinstance(picture, list | tuple) and not picture else picture

    def _advice(self) -> str:
        try:
            StateVector(self.env_id, self.env.observation_space)
        except UserError:
            return "it has no render mode rgb_array, and its observation is neither a picture nor a vector"
        return "record its states, data.recorder.observe=states"


def drawn_by_game(ale: Any) -> np.ndarray:
    """uint8 [H, W, 3]: the first picture that an Atari game draws after a reset; the emulator's state is restored.

    That is the current screen, except in games that take some console frames to draw themselves (`SETTLED`), where it
    is the screen after as many frames without an action.
    """
    now, state = ale.getScreenRGB(), ale.cloneState(include_rng=True)
    for _ in range(SETTLED):
        ale.act(0)
    later = ale.getScreenRGB()
    ale.restoreState(state)
    return later if (now != later).any(axis=-1).mean() > DIFFERENT else now
