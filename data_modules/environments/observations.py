"""What an environment shows, as it is recorded: its screen as a frame, or its state as a vector."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from data_modules.atari_objects import visible_centres
from data_modules.environments.values import shown, state_of
from data_modules.resize import AreaResize
from genie.common.errors import UserError

Box = tuple[int, int, int, int]  # top, bottom, left, right in screen pixels


def one_line(space: gym.Space) -> str:
    """A space in words; those with long limits have several lines of their own."""
    return " ".join(str(space).split())


class Viewport:
    """Callable: a screen uint8 [H', W', 3] → a frame uint8 [*image_size, 3].

    crop: of the screen, None for all of it. Raises UserError for a crop or a size that cannot be.
    """

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
        self.image_size = tuple(image_size)
        self.resize = AreaResize((bottom - top, right - left), self.image_size)

    def __call__(self, screen: np.ndarray) -> np.ndarray:
        top, bottom, left, right = self.crop
        return self.resize(screen[None, top:bottom, left:right])[0]

    def places(self, boxes: np.ndarray, field: Box) -> np.ndarray:
        """Centres float32 [O, 2] of boxes [O, 4] on the screen, in pixels of the frame: see `visible_centres`."""
        return visible_centres(boxes, field, self.crop, self.image_size)


class StateVector:
    """Callable: an observation → float32 [n], a copy. The parts of a dictionary are joined in its order.

    Raises UserError for spaces that are no vector of numbers, and for states that are not of their space's size, not
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
        self.size = sum(int(np.prod(part.shape)) for part in parts)
        if self.size == 0:
            raise UserError(f"environment '{env_id}' observes {one_line(space)}, which has no numbers")

    def __call__(self, observation: Any, place: str) -> np.ndarray:
        if self.names is None:
            return state_of([observation], self.size, place)
        if not isinstance(observation, Mapping) or not set(self.names) <= set(observation):
            raise UserError(f"{place}: the observation is {shown(observation)}, not a dict of {', '.join(self.names)}")
        return state_of([observation[name] for name in self.names], self.size, place)
