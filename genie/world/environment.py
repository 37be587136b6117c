"""A trained world as a Gymnasium environment: observations are its frames, actions those it was trained with.

    env = gymnasium.make("genie.world.environment:genie/World-v0", run="outputs/pong")

Importing this module registers the id; `gymnasium.make` does it by the part before the colon. The batched environment
is in `vector_environment.py`; docs/environment.md shows both.

Dimension letters: `H W` pixels.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from genie.common.errors import UserError
from genie.world.episodes import Episodes, check_options
from genie.world.state import WorldState

RENDER_MODES = ["rgb_array"]


class GenieEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One episode at a time in a world.

    Observations are frames uint8 [H, W, 3]: after `reset` the last one of the prompt, after `step` the generated one.
    Rewards are 0.0 and `terminated` is False unless the world has a reward model (`info["has_reward_model"]`);
    `truncated` is True after `horizon` steps. `info["passes"]`: passes of the dynamics that the frame took.

    The same checkpoint, prompt, seed and actions give the same frames.

    Args:
        render_mode: "rgb_array": `render` returns the frame; None: nothing is rendered.
        settings: those of `Episodes`: run or world, prompt, prompt_frames, horizon, device, sampler.

    Raises UserError for a setting, an option of `reset` or an action that cannot be, ResetNeeded for a step before
    `reset` or after an episode's end, ClosedEnvironmentError after `close`.
    """

    metadata = {"render_modes": RENDER_MODES}

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.episodes: Episodes | None = Episodes(**settings)
        self.observation_space, self.action_space = self.episodes.observation_space, self.episodes.action_space
        self.metadata = {**self.metadata, "render_fps": self.episodes.world.fps}
        self._state: WorldState | None = None  # None: no episode, or it is over
        self._frame: np.ndarray | None = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. `options["prompt"]` is one for this episode, of the kinds that `Episodes` takes."""
        episodes = require_open(self.episodes)
        prompt = check_options(options).get("prompt")
        super().reset(seed=seed)
        self._state, frames = episodes.begin([self.np_random], [prompt])
        self._frame, self._steps = frames[0], 0
        return self._frame.copy(), episodes.info(passes=0)

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """The next frame under `action` in [0, A)."""
        episodes = require_open(self.episodes)
        if self._state is None:
            raise ResetNeeded("there is no episode, or it is over: call reset() before step()")
        if not self.action_space.contains(action):
            raise UserError(f"action={action!r}: this world takes a whole number in 0 … {self.action_space.n - 1}")
        self._state, outcome = episodes.step(self._state, np.array([int(action)]))
        self._frame = outcome.frames[0]
        self._steps += 1
        terminated, truncated = bool(outcome.terminated[0]), self._steps == episodes.horizon
        if terminated or truncated:
            self._state = None
        info = episodes.info(outcome.passes[0])
        return self._frame.copy(), float(outcome.rewards[0]), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The frame uint8 [H, W, 3], which is the last observation."""
        return self._frame.copy() if renders(self.episodes, self.render_mode, self._frame is not None) else None

    def close(self) -> None:
        """Lets go of the world, its state and its data."""
        self.episodes = self._state = self._frame = None


def check_render_mode(render_mode: str | None) -> str | None:
    """Raises UserError for one that there is not."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise UserError(f"render_mode={render_mode!r}: give None or {RENDER_MODES[0]!r}")
    return render_mode


def renders(episodes: Episodes | None, render_mode: str | None, begun: bool) -> bool:
    """Whether there is a picture to give; warns where the environment was made without one.

    Raises ResetNeeded where no episode has `begun`, ClosedEnvironmentError after `close`."""
    require_open(episodes)
    if render_mode is None:
        gymnasium.logger.warn('nothing is rendered: make the environment with render_mode="rgb_array"')
        return False
    if not begun:
        raise ResetNeeded("there is nothing to render yet: call reset() first")
    return True


def require_open(episodes: Episodes | None) -> Episodes:
    """Raises ClosedEnvironmentError where there are none any more."""
    if episodes is None:
        raise ClosedEnvironmentError("this environment was closed: make another one")
    return episodes


gymnasium.register(
    "genie/World-v0",
    entry_point="genie.world.environment:GenieEnv",
    vector_entry_point="genie.world.vector_environment:GenieVectorEnv",
)
