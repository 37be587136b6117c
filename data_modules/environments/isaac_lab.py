"""One environment of NVIDIA Isaac Lab (ids that begin with "Isaac-"), as an `Environment`.

UNTESTED: Isaac Lab needs an NVIDIA GPU and its simulator, which were never available. This is written against its
documented Gymnasium interface and was run against a stand-in only. Unlike in Gymnasium, the simulator has to be started
before anything else is imported, everything is a batch of torch tensors, observations are a dictionary with the entry
"policy", and an episode that ends is reset within the same step.
"""

from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from data_modules.environments.values import frame_rate, reward_of, state_of
from genie.common.errors import UserError

FPS = 60.0  # of tasks without a step duration


class IsaacLabEnvironment:
    """kwargs: `device`, and other arguments of Isaac Lab's `parse_env_cfg`. States are observed, never frames.

    Actions are numbers in [-1, 1], passed on unchanged: tasks scale them. The last state of an episode is `final_obs`
    where the task offers it (`compute_final_obs`), else the one before it repeated: the state that is returned with the
    end already belongs to the next episode.
    """

    observes: Literal["frames", "states"]
    action_space: spaces.Discrete | spaces.Box
    object_names: list[str] = []
    can_branch = False

    def __init__(
        self, env_id: str, kwargs: dict[str, Any], observe: str, fps: float | None, action_names: list[str] | None
    ):
        if observe != "states":
            raise UserError(f"environment '{env_id}' is recorded as states: data.recorder.observe=states")
        try:
            from isaaclab.app import AppLauncher  # pyright: ignore[reportMissingImports]

            self.app = AppLauncher(headless=True).app
            import gymnasium as gym
            import isaaclab_tasks  # noqa: F401  registers the ids  # pyright: ignore[reportMissingImports]
            from isaaclab_tasks.utils import parse_env_cfg  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(f"environment '{env_id}' needs Isaac Lab, which pip does not bring: {error}") from None
        self.id, self.observes = env_id, "states"
        config = parse_env_cfg(env_id, num_envs=1, **kwargs)
        if hasattr(config, "compute_final_obs"):
            config.compute_final_obs = True
        self.env: Any = gym.make(env_id, cfg=config)  # gives batches of tensors
        size = int(np.prod(self.env.action_space.shape[1:]))
        self.action_space = spaces.Box(-1, 1, (size,), np.float32)
        self.action_meanings = list(action_names or [f"action_{number}" for number in range(size)])
        step_seconds = getattr(self.env.unwrapped, "step_dt", 1 / FPS)
        self.fps = 1 / step_seconds if fps is None else frame_rate(self.env, env_id, fps)
        self._state = self.reset(seed=0)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return self._state.shape

    def reset(self, seed: int) -> np.ndarray:
        self.steps = 0
        self._state = self._vector(self.env.reset(seed=seed)[0])
        return self._state

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        import torch

        batch = torch.as_tensor(np.asarray(action, np.float32)[None], device=self.env.unwrapped.device)
        self.steps += 1
        observation, reward, terminal, truncated, extras = self.env.step(batch)
        if bool(terminal[0]) or bool(truncated[0]):
            observation = extras.get("final_obs")
        if observation is not None:
            self._state = self._vector(observation)
        return self._state, reward_of(reward[0], self._place()), bool(terminal[0]), bool(truncated[0])

    def screen(self) -> np.ndarray:
        raise UserError(f"environment '{self.id}' is run without pictures")

    def close(self) -> None:
        self.env.close()
        self.app.close()

    def _vector(self, observation: dict[str, Any]) -> np.ndarray:
        """float32 [n] of the only environment of the batch, a copy."""
        first = observation["policy"][0]
        return state_of([first], int(np.prod(first.shape)), self._place())

    def _place(self) -> str:
        return f"environment '{self.id}' at step {self.steps}"
