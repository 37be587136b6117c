"""The equations that trained worlds are compared with are those of the environment."""

import gymnasium as gym
import numpy as np
import torch

from benchmarks.control import PendulumWorld, main


def test_the_true_equations_are_those_of_the_environment():
    environment, world = gym.make("Pendulum-v1"), PendulumWorld()
    observation, _ = environment.reset(seed=0)
    state, draws = world.reset(torch.from_numpy(observation)[None, None]), np.random.default_rng(0)
    for _ in range(200):
        action = draws.uniform(-1, 1, 1).astype(np.float32)
        observation, reward, _, _, _ = environment.step(2 * action)
        state, step = world.step(state, torch.from_numpy(action)[None])
        np.testing.assert_allclose(step.reward[0], reward, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(step.observation[0], observation, atol=1e-3)
        state = world.observe(state, torch.from_numpy(observation)[None], torch.zeros(1))  # errors do not add up


def test_a_planner_in_them_plays_the_environment(monkeypatch, capsys):
    given = ["runs=", "episodes=2", "horizon=8", "candidates=12", "iterations=2"]
    monkeypatch.setattr("sys.argv", ["control", *given])
    main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    returns = {name.removeprefix("| "): float(value.split()[0]) for name, value, _ in rows[1:]}
    assert returns["the true equations"] > returns["random"] + 200
    assert rows[-1][2].startswith("100.0%")
