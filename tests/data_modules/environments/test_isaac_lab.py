"""Isaac Lab's environment against a stand-in: batches of tensors, and an episode that ends begins anew at once."""

import sys
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from data_modules.environments import open_environment


class StandIn:
    """State t is t; the fourth step ends the episode, and gives the state 0 of the next one."""

    action_space = spaces.Box(-np.inf, np.inf, (1, 2))
    device, step_dt = "cpu", 0.02

    def __init__(self, config):
        self.config, self.unwrapped, self.actions = config, self, []

    def _seen(self, value):
        return {"policy": torch.full((1, 3), float(value))}

    def reset(self, seed):
        self.time = 0
        return self._seen(0), {}

    def step(self, actions):
        self.actions.append(actions)
        self.time += 1
        ended = self.time == 4
        extras = {"final_obs": self._seen(4)} if ended and self.config.final else {}
        flag = torch.tensor([ended])
        return self._seen(0 if ended else self.time), torch.tensor([0.5]), flag, ~flag & flag, extras


@pytest.fixture
def stand_in(monkeypatch):
    """stand_in(final): puts it where Isaac Lab would be."""

    def put(final):
        modules = {
            name: ModuleType(name) for name in ("isaaclab", "isaaclab.app", "isaaclab_tasks", "isaaclab_tasks.utils")
        }
        modules["isaaclab.app"].AppLauncher = lambda headless: SimpleNamespace(app=None)
        config = SimpleNamespace(final=final)
        modules["isaaclab_tasks.utils"].parse_env_cfg = lambda env_id, num_envs, device: config
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(gym, "make", lambda env_id, cfg: StandIn(cfg))

    return put


@pytest.mark.parametrize(("final", "last"), [(True, 4), (False, 3)])
def test_states_of_the_first_of_a_batch_and_the_last_of_an_episode(stand_in, final, last):
    stand_in(final)
    env = {"id": "Isaac-Cartpole-v0", "kwargs": {"device": "cpu"}}
    environment = open_environment({"env": env, "observe": "states", "fps": None, "action_names": None}, None)
    assert environment.fps == 50 and environment.action_space.shape == (2,) and environment.observation_shape == (3,)
    assert environment.reset(seed=1).tolist() == [0, 0, 0]
    seen = [environment.step(np.array([0.5, -1], np.float32)) for _ in range(4)]
    assert [state[0] for state, *_ in seen] == [1, 2, 3, last]
    assert [terminal for *_, terminal, _ in seen] == [False, False, False, True]
    assert environment.env.actions[0].tolist() == [[0.5, -1]]
