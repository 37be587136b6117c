"""A Gymnasium environment as it is recorded: frames or states, named actions, perhaps positions of objects."""

import copy

import gymnasium as gym
import numpy as np

from data_modules.atari_objects import OBJECTS
from data_modules.environments.actions import actions_of
from data_modules.environments.headless import ADVICE, find_opengl
from data_modules.environments.making import is_picture, make
from data_modules.environments.observations import Box, StateVector, Viewport
from genie.errors import UserError, reason

OBSERVED = ("frames", "states")


class GymnasiumEnvironment:
    """An `Environment` (`protocol.py`).

    observe: one of `OBSERVED`. image_size, crop: of frames (`Viewport`). fps: None for what the environment says.
    actions, action_names: as `DiscreteActions` and `ContinuousActions` take them.
    Raises UserError for an unknown environment or action, and for spaces that cannot be recorded.
    """

    def __init__(
        self,
        env_id: str,
        kwargs: dict,
        observe: str,
        image_size: tuple[int, int] | None,
        crop: Box | None,
        fps: float | None,
        actions: list[str] | None,
        action_names: list[str] | None,
    ):
        if observe not in OBSERVED:
            raise UserError(f"data.recorder.observe={observe} must be {' or '.join(OBSERVED)}")
        self.id, self.observes = env_id, observe
        self.env = make(env_id, kwargs)
        self.actions = actions_of(self.env, env_id, actions, action_names)
        self.action_space, self.action_meanings = self.actions.space, self.actions.names
        self.fps = self._frame_rate() if fps is None else float(fps)
        self.object_names: list[str] = []
        if observe == "states":
            self.state = StateVector(env_id, self.env.observation_space)
        else:
            names, self.field, self._boxes = OBJECTS.get(env_id, ([], None, None))
            self.object_names = list(names)
            self._observation, _ = self.env.reset(seed=0)
            self.viewport = Viewport(env_id, self.screen().shape[:2], crop, image_size)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return (self.state.size,) if self.observes == "states" else (*self.viewport.image_size, 3)

    def reset(self, seed: int) -> np.ndarray:
        self._observation, _ = self.env.reset(seed=seed)
        return self._observe()

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        self._observation, reward, terminal, truncated, _ = self.env.step(self.actions.native(action))
        return self._observe(), float(reward), bool(terminal), bool(truncated)

    def _observe(self) -> np.ndarray:
        return self.state(self._observation) if self.observes == "states" else self.viewport(self.screen())

    def screen(self) -> np.ndarray:
        if is_picture(self.env.observation_space):
            return self._observation
        by_mujoco = hasattr(self.env.unwrapped, "mujoco_renderer") or self.id.startswith("dm_control/")
        if by_mujoco and find_opengl() is None:
            raise UserError(f"nothing here draws the screen of {self.id}: {ADVICE}")
        try:
            picture = None if self.env.render_mode is None else self.env.render()
        except gym.error.DependencyNotInstalled as error:
            raise UserError(f"environment '{self.id}' shows no screen: {reason(error)}") from error
        if picture is None:
            raise UserError(f"environment '{self.id}' shows no screen: record its states, data.recorder.observe=states")
        picture = np.asarray(picture)
        return picture if picture.dtype == np.uint8 else (picture * 255).round().astype(np.uint8)  # MinAtar: in [0, 1]

    def boxes(self) -> np.ndarray:
        """Where the objects are: [O, 4], (top, bottom, left, right) in screen pixels."""
        return self._boxes(self.env.unwrapped.ale.getRAM())

    def places(self, boxes: np.ndarray) -> np.ndarray:
        """Centres float32 [O, 2] of what can be seen of boxes, in pixels of the frame."""
        return self.viewport.places(boxes, self.field)

    @property
    def can_branch(self) -> bool:
        """Whether `save` works: only the Atari emulator hands out its whole state."""
        return hasattr(self.env.unwrapped, "ale")

    def save(self) -> tuple:
        """Everything that decides what comes next, random numbers included; for `restore`."""
        unwrapped = self.env.unwrapped
        return unwrapped.ale.cloneState(include_rng=True), copy.deepcopy(unwrapped.np_random)

    def restore(self, state: tuple) -> None:
        """Go back to where `save` was called, as often as wanted."""
        unwrapped = self.env.unwrapped
        unwrapped.ale.restoreState(state[0])
        unwrapped.np_random = copy.deepcopy(state[1])

    def _frame_rate(self) -> float:
        """What the environment says of itself."""
        if hasattr(self.env.unwrapped, "ale"):
            skip = self.env.unwrapped._frameskip  # a number, or the ends of a range
            return 60.0 / (skip if isinstance(skip, int) else (skip[0] + skip[1] - 1) / 2)  # the console draws 60
        return float(self.env.metadata.get("render_fps", 30))

    def close(self) -> None:
        self.env.close()
