"""A real environment that is what the line's world imagines, registered with Gymnasium, and what opens the two."""

import functools
import sys
import types

import gymnasium as gym
import numpy as np
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from data_modules import environments
from genie.common.cli import resolved


class LineEnv(gym.Env):
    """`tests/line_world.py`, truly. Episodes begin somewhere in -0.5 … 0.5."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(-2, 2, (1,))

    def __init__(self, continuous=False, goal=0.5, render_mode=None):
        self.continuous, self.goal, self.render_mode = continuous, goal, render_mode
        self.action_space = gym.spaces.Box(-1, 1, (1,)) if continuous else gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.float32(self.np_random.uniform(-0.5, 0.5))
        return np.array([self.place]), {}

    def step(self, action):
        move = action[0] if self.continuous else np.float32(action - 1)
        self.place = np.float32(self.place + np.float32(0.2) * move)
        return np.array([self.place]), -abs(float(self.place) - self.goal), bool(abs(self.place) > 1), False, {}

    def render(self):
        screen = np.zeros((16, 32, 3), dtype=np.uint8)
        screen[:, int(np.clip(15 + 15 * self.place, 0, 31))] = 255
        return screen


gym.register("Line-v0", LineEnv, reward_threshold=-3.0, max_episode_steps=12)
gym.register("LineOfForces-v0", LineEnv, kwargs={"continuous": True}, max_episode_steps=12)


class Opened:
    """What `open_environment` gives."""

    observes, fps = "states", 10.0

    def __init__(self, env_id):
        self.id, self.env = env_id, gym.make(env_id, render_mode="rgb_array")
        self.action_space = self.env.action_space
        self.starts, self.closed = 0, False

    def reset(self, seed):
        self.starts += 1
        return self.env.reset(seed=seed)[0]

    def step(self, action):
        observation, reward, terminal, truncated, _ = self.env.step(action)
        return observation, float(reward), terminal, truncated

    def screen(self):
        return self.env.render()

    def close(self):
        self.closed = True


@pytest.fixture
def make_environment():
    """make_environment(id="Line-v0"): an opened environment."""
    return lambda env_id="Line-v0": Opened(env_id)


@pytest.fixture
def stage(line_world, monkeypatch):
    """What `genie.act` opens: `world` (may be replaced), and all environments that were `opened`."""
    opened = []
    scene = types.SimpleNamespace(world=line_world(), opened=opened)
    scene.world.config = {"name": "line", "data": {"name": "line", "recorder": {"env": {"id": "Line-v0"}}}}

    def open_environment(settings, image_size, env_id=None):
        assert image_size is None
        opened.append(Opened(env_id or settings["env"]["id"]))
        return opened[-1]

    opening = types.ModuleType("genie.world.opening")
    opening.open_world = lambda run, kind=None: scene.world
    monkeypatch.setitem(sys.modules, "genie.world.opening", opening)
    monkeypatch.setattr(environments, "open_environment", open_environment, raising=False)
    return scene


@functools.cache
def composed(*overrides):
    small = ["act.episodes=4", "act.parallel=3", "act.videos=0", "device=cpu", "run=line"]
    if not any(word.startswith(("act.policy=", "agent=")) for word in overrides):
        small += ["planner=cem", "planner.horizon=6", "planner.candidates=24", "planner.iterations=2"]
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("act", [*small, *overrides])


@pytest.fixture
def act_config(tmp_path):
    """act_config(*overrides): the configuration `act` of a small play into a temporary folder."""

    return lambda *overrides: composed(*overrides).changed(run=str(tmp_path / "line"))
