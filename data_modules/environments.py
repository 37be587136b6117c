"""A Gymnasium environment as the recorder sees it: a screen, named actions, perhaps object positions."""

import copy
import difflib
from importlib.metadata import entry_points

import ale_py
import gymnasium as gym
import numpy as np

from data_modules.atari_objects import OBJECTS
from genie.errors import UserError

Box = tuple[int, int, int, int]  # top, bottom, left, right in screen pixels
PACKAGES = {"MinAtar": "minatar"}  # families of environments that are not installed with this project


def _make(env_id: str, kwargs: dict) -> gym.Env:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner
    gym.register_envs(ale_py)
    family = env_id.split("/")[0]
    if not any(name.startswith(f"{family}/") for name in gym.registry):
        for point in entry_points(group="gymnasium.envs", name=family):  # what packages like MinAtar declare
            point.load()()
    try:
        return gym.make(env_id, **{"disable_env_checker": True, **kwargs})  # which warns of screens that are not uint8
    except gym.error.UnregisteredEnv:
        near = difflib.get_close_matches(env_id, gym.registry, n=3, cutoff=0.3) or ["ALE/Pong-v5"]
        hint = f"; pip install {PACKAGES[family]} if that is meant" if family in PACKAGES else ""
        raise UserError(f"no environment '{env_id}'; similar ones: {', '.join(near)}{hint}") from None
    except (gym.error.Error, TypeError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"environment '{env_id}' does not start with {kwargs}: {reason}") from error


class ScreenEnvironment:
    """One environment; actions are ids 0..A-1 into `action_meanings`.

    `actions`: names by the environment's own meanings, in the order of the ids (None: all of them);
    `action_names`: what to call them in the file (None: the environment's names in lower case).
    `objects()` gives boxes [O, 4] in screen pixels for the environments in `OBJECTS`, else None.
    Raises UserError for an unknown environment or action, and for actions that are not discrete.
    """

    def __init__(self, env_id: str, kwargs: dict, actions: list[str] | None, action_names: list[str] | None):
        self.id = env_id
        self.env = _make(env_id, kwargs)
        space = self.env.observation_space
        self.renders = not (len(space.shape or ()) == 3 and space.dtype == np.uint8 and space.shape[2] == 3)
        if self.renders:  # the observation is no picture: ask for one
            self.env.close()
            self.env = _make(env_id, kwargs | {"render_mode": "rgb_array"})
        if not isinstance(self.env.action_space, gym.spaces.Discrete):
            raise UserError(f"environment '{env_id}' has actions {self.env.action_space}, only Discrete is recorded")
        self._choose_actions(actions, action_names)
        names, self.field, self._boxes = OBJECTS.get(env_id, ([], None, None))
        self.object_names = list(names)
        try:
            self.screen_size = self.reset(seed=0).shape[:2]
        except gym.error.DependencyNotInstalled as error:
            raise UserError(f"environment '{env_id}' shows no screen: {error}") from error

    def _choose_actions(self, actions: list[str] | None, action_names: list[str] | None) -> None:
        unwrapped = self.env.unwrapped
        count = int(self.env.action_space.n)
        has_names = hasattr(unwrapped, "get_action_meanings")
        meanings = unwrapped.get_action_meanings() if has_names else [f"ACTION{i}" for i in range(count)]
        chosen = list(meanings if actions is None else actions)
        for name in chosen:
            if name not in meanings:
                raise UserError(f"no action '{name}' in {self.id}; it has {', '.join(meanings)}")
        if action_names is not None and len(action_names) != len(chosen):
            raise UserError(f"{len(chosen)} actions {chosen} but {len(action_names)} action names {action_names}")
        start = int(self.env.action_space.start)
        self.actions = chosen
        self.action_meanings = list(action_names or [name.lower() for name in chosen])
        self._native = [start + meanings.index(name) for name in chosen]

    def _screen(self, observation) -> np.ndarray:
        screen = np.asarray(self.env.render()) if self.renders else observation
        return (
            screen if screen.dtype == np.uint8 else (screen * 255).round().astype(np.uint8)
        )  # MinAtar's are in [0, 1]

    def reset(self, seed: int) -> np.ndarray:
        """Screen uint8 [H, W, 3] at the start of an episode."""
        observation, _ = self.env.reset(seed=seed)
        return self._screen(observation)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        """(screen uint8 [H, W, 3], reward, terminal, truncated) after one decision."""
        observation, reward, terminal, truncated, _ = self.env.step(self._native[action])
        return self._screen(observation), float(reward), bool(terminal), bool(truncated)

    def boxes(self) -> np.ndarray | None:
        return None if self._boxes is None else self._boxes(self.env.unwrapped.ale.getRAM())

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

    def frame_rate(self) -> float:
        """Frames per second of the recording when none is configured."""
        if hasattr(self.env.unwrapped, "ale"):
            skip = self.env.unwrapped._frameskip  # a number, or the ends of a range
            return 60.0 / (skip if isinstance(skip, int) else (skip[0] + skip[1] - 1) / 2)  # the console draws 60
        return float(self.env.metadata.get("render_fps", 30))

    def close(self) -> None:
        self.env.close()
