"""One interface for whatever Gymnasium knows: what is observed, how actions are stretched, what cannot be recorded."""

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from data_modules.environments import observations, open_environment
from data_modules.environments.recording_policies import HeldUniform, SmoothNoise
from genie.common.errors import UserError


class Told(gym.Env):
    """Its state is the native action that it was given last, and its clock."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(np.array([0, -2], np.float32), np.array([4, 2], np.float32))
    metadata = {"render_modes": [], "render_fps": 5}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = self.np_random.random()
        return np.array([0, 0, self.time]), {}

    def step(self, action):
        assert action.dtype == np.float32 and self.action_space.contains(action)
        self.time += 1
        return np.array([*action, self.time]), 1.0, self.time > 6, False, {}


class Parts(Told):
    """Its state has parts, as those of DeepMind Control."""

    observation_space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Box(-1, 1, ()))

    def reset(self, seed=None, options=None):
        return {"a": np.array([1, 2]), "b": np.array(3.0)}, {}


def with_spaces(**given):
    return type("Odd", (Told,), given)


ODD = {
    "Endless-v0": with_spaces(action_space=spaces.Box(-np.inf, 1, (2,))),
    "Many-v0": with_spaces(action_space=spaces.MultiDiscrete([2, 3])),
    "Square-v0": with_spaces(action_space=spaces.Box(-1, 1, (2, 2))),
    "Picture-v0": with_spaces(observation_space=spaces.Dict(a=spaces.Box(0, 255, (4, 4, 3), np.uint8))),
}
for name, kind in {"Told-v0": Told, "Parts-v0": Parts, **ODD}.items():
    gym.register(name, kind)


def settings(env_id, observe="states", **given):
    base = {"env": {"id": env_id, "kwargs": {}}, "observe": observe}
    return base | dict.fromkeys(("actions", "action_names", "crop", "fps")) | given


def test_actions_in_minus_one_to_one_are_stretched_to_the_limits():
    environment = open_environment(settings("Told-v0"), None)
    assert environment.action_space == spaces.Box(-1, 1, (2,), np.float32) and environment.fps == 5
    first = environment.reset(seed=3)
    assert first.dtype == np.float32 and first.shape == environment.observation_shape == (3,)
    for given, native in (([-1, -1], [0, -2]), ([1, 1], [4, 2]), ([0, 0.5], [2, 1]), ([-7, 7], [0, 2])):
        state, reward, terminal, truncated = environment.step(np.array(given, np.float32))
        assert state[:2].tolist() == native and (reward, terminal, truncated) == (1.0, False, False)
    assert (environment.reset(seed=3) == first).all() and (environment.reset(seed=4) != first).any()


def test_parts_that_are_vectors_are_joined():
    assert open_environment(settings("Parts-v0"), None).reset(seed=0).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("env_id", "observe", "given", "says"),
    [
        ("Endless-v0", "states", {}, "limits that are not finite"),
        ("Many-v0", "states", {}, r"MultiDiscrete\(\[2 3\]\): only Discrete and Box of one dimension"),
        ("Square-v0", "states", {}, "only Discrete and Box of one dimension"),
        ("Picture-v0", "states", {}, "no vector: record what it shows, data.recorder.observe=frames"),
        ("ALE/Pong-v5", "states", {}, "no vector"),
        ("Told-v0", "frames", {}, "shows no screen: record its states, data.recorder.observe=states"),
        ("Told-v0", "states", {"actions": ["UP"]}, "names single actions"),
        ("Told-v0", "states", {"action_names": ["force"]}, "actions of 2 numbers but 1 action names"),
        ("Isaac-Cartpole-v0", "states", {}, "needs Isaac Lab"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(env_id, observe, given, says):
    with pytest.raises(UserError, match=says) as raised:
        open_environment(settings(env_id, observe, **given), (8, 8))
    assert "\n" not in str(raised.value)


def test_another_id_keeps_only_what_fits_it():
    pong = settings("ALE/Pong-v5", "frames", actions=["NOOP"], crop=[34, 194, 0, 160])
    pong["env"]["kwargs"] = {"frameskip": 6}
    breakout = open_environment(pong, (32, 32), "ALE/Breakout-v5")
    assert breakout.fps == 10 and len(breakout.action_meanings) == 4
    assert breakout.screen().shape == (210, 160, 3) and breakout.reset(seed=0).shape == (32, 32, 3)
    assert open_environment(pong | {"observe": "states"}, None, "Told-v0").fps == 5


def test_settings_from_before_states_are_of_frames():
    old = settings("ALE/Pong-v5")
    del old["observe"]
    assert open_environment(old, (16, 16)).observes == "frames"


def test_without_a_display_the_first_that_draws_is_taken(monkeypatch):
    tried, works = [], "osmesa"

    def run(command, env, **options):
        tried.append(env["MUJOCO_GL"])
        return SimpleNamespace(returncode=0 if env["MUJOCO_GL"] == works else 1)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(observations, "is_headless", lambda: True)
    monkeypatch.setenv("MUJOCO_GL", "")  # so that it is put back in the end
    monkeypatch.delenv("MUJOCO_GL")
    assert observations.find_opengl.__wrapped__() == os.environ["MUJOCO_GL"] == "osmesa" and tried == ["egl", "osmesa"]
    monkeypatch.setenv("MUJOCO_GL", "egl")  # the user's choice alone is tried
    assert observations.find_opengl.__wrapped__() is None and tried[2:] == ["egl"]


def test_a_screen_that_nothing_draws_is_one_line(monkeypatch):
    monkeypatch.setattr(Told, "mujoco_renderer", None, raising=False)
    monkeypatch.setattr("data_modules.environments.observations.find_opengl", lambda: None)
    environment = open_environment(settings("Told-v0"), None)
    with pytest.raises(UserError, match="libosmesa6"):
        environment.screen()


def test_random_numbers_are_held_or_wander():
    rng = np.random.default_rng
    policy = HeldUniform(2, 4, rng(0))
    held = np.stack([policy.act(None) for _ in range(4000)])
    assert held.dtype == np.float32 and np.abs(held).max() <= 1
    kept = (held[1:] == held[:-1]).all(axis=1).mean()
    assert abs(kept - 3 / 4) < 0.03  # held for 4 decisions in the mean
    assert np.abs(np.quantile(held, [0.25, 0.75], axis=0) - [[-0.5], [0.5]]).max() < 0.1
    policy = SmoothNoise(2, 5, 0.3, rng(0))
    smooth = np.stack([policy.act(None) for _ in range(8000)])
    assert np.abs(smooth).max() <= 1 and abs(smooth.std() - 0.3) < 0.03
    correlation = np.corrcoef(smooth[5:, 0], smooth[:-5, 0])[0, 1]
    assert abs(correlation - np.exp(-1)) < 0.1


def test_the_code_of_the_document_runs():
    document = (Path(__file__).parents[3] / "docs" / "environments.md").read_text()
    names = {}
    exec(re.search(r"```python\n(.*?)```", document, re.DOTALL).group(1), names)
    assert names["state"].shape == (3,) and names["reward"] < 0
