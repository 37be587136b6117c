"""The games of Procgen (Cobbe et al. 2020, arXiv 1912.01588), as EnvPool has them, for Gymnasium.

`Procgen/CoinrunHard-v0`, `Procgen/CoinrunEasy-v0` and likewise of the other 15 games: frames uint8 [64, 64, 3], 15
actions, an episode is one level. The seed of a reset is the number of the level, so that a level can be played again.
Importing registers them; keyword arguments are those of EnvPool, such as use_backgrounds=false.
"""

from typing import Any

import envpool
import gymnasium as gym
import numpy as np
from gymnasium import spaces

NUM_LEVELS = 2**31
ACTIONS = (
    "left_down", "left", "left_up", "down", "noop", "up", "right_down", "right", "right_up", "d", "a", "w", "s", "q",
    "e",
)  # fmt: skip
GAMES = (
    "Bigfish", "Bossfight", "Caveflyer", "Chaser", "Climber", "Coinrun", "Dodgeball", "Fruitbot", "Heist", "Jumper",
    "Leaper", "Maze", "Miner", "Ninja", "Plunder", "Starpilot",
)  # fmt: skip
OWN = ("num_envs", "batch_size", "start_level", "num_levels", "seed", "env_type")  # of this class


class ProcgenGame(gym.Env):
    """One level at a time of a game. EnvPool fixes levels when it is built, so each reset builds it anew, in some
    hundredths of a second."""

    metadata = {"render_modes": [], "render_fps": 15}
    action_space = spaces.Discrete(len(ACTIONS))
    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def __init__(self, game: str, **kwargs: Any) -> None:
        if wrong := [name for name in OWN if name in kwargs]:
            raise ValueError(f"{wrong[0]} cannot be given: the seed of a reset is the number of its level")
        self.game, self.kwargs, self.level = game, kwargs, 0
        self.envs: Any = None

    def get_action_meanings(self) -> list[str]:
        return list(ACTIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begins the level `seed`; without one the next level."""
        super().reset(seed=seed)
        self.level = (self.level + 1 if seed is None else seed) % NUM_LEVELS
        self.close()
        self.envs = envpool.make(
            f"{self.game}-v0", env_type="gymnasium", num_envs=1, num_levels=1, start_level=self.level, seed=0,
            num_threads=1, **self.kwargs,
        )  # fmt: skip
        frames, _ = self.envs.reset()
        return _frame(frames), {"level_seed": self.level}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        frames, rewards, ends, cuts, info = self.envs.step(np.array([action], dtype=np.int32))
        complete = bool(info["prev_level_complete"][0]) if ends[0] else False
        about = {"level_seed": self.level, "level_complete": complete}
        return _frame(frames), float(rewards[0]), bool(ends[0]), bool(cuts[0]), about

    def close(self) -> None:
        if self.envs is not None:
            self.envs.close()
            self.envs = None


def _frame(frames: np.ndarray) -> np.ndarray:
    """uint8 [1, 3, H, W] → [H, W, 3]."""
    return frames[0].transpose(1, 2, 0).copy()


for _name in GAMES:
    for _mode in ("Easy", "Hard"):
        gym.register(
            f"Procgen/{_name}{_mode}-v0", "data_modules.environments.procgen:ProcgenGame",
            kwargs={"game": f"{_name}{_mode}"},
        )  # fmt: skip
