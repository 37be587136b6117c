"""What a person sees of a Gymnasium environment: its observation where that is a picture, else what it draws."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from data_modules.environments.headless import ADVICE, find_opengl
from data_modules.environments.observations import StateVector
from data_modules.environments.pictures import PictureReader, can_be_picture, is_picture
from genie.common.errors import UserError

# Console frames after a reset until the slowest of Atari games draws itself, and the share of pixels that then differ:
# the emulator holds the reset switch first, and Pong, AirRaid, Koolaid, SirLancelot and Turmoil show other colours or
# nothing as long. Measured on the 104 games of ale-py 0.12: 67% to 100% of the pixels there, at most 1% in the others.
SETTLED, DIFFERENT = 2, 0.5


class Screen:
    """uint8 [H, W, 3] of an environment that was reset, of one size as long as it lives.

    render: asks the environment to draw. What is seen comes from one place: the observation where it is a uint8
    picture, else `render()`, else an observation that can be read as a picture (`can_be_picture`).
    Raises UserError where nothing can be seen, or something else than a picture.
    """

    def __init__(self, env: gym.Env, env_id: str, render: Callable[[], Any]) -> None:
        self.env, self.env_id, self.render = env, env_id, render
        self.size: tuple[int, int] | None = None
        self.reader: PictureReader | None = None
        self.drawn = False  # by render()

    def look(self, given: Any, place: str) -> np.ndarray:
        """What is seen in a picture that was `given`; a copy. place: for the line of an error."""
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
        """What is to be seen with an observation now, as the environment gives it. It is asked once a step: a list of
        frames is empty afterwards."""
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
        """None where nothing is drawn."""
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
    """uint8 [H, W, 3]: the first picture that an Atari game draws after a reset; the emulator stays where it is.

    That is its screen now, but in games that take some console frames to draw themselves (`SETTLED`), where it is what
    doing nothing for as long shows.
    """
    now, state = ale.getScreenRGB(), ale.cloneState(include_rng=True)
    for _ in range(SETTLED):
        ale.act(0)
    later = ale.getScreenRGB()
    ale.restoreState(state)
    return later if (now != later).any(axis=-1).mean() > DIFFERENT else now
