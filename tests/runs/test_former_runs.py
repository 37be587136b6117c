"""Runs of every stage that an earlier version trained: they load, and give what they gave.

`former/` was trained by `debug=fast` at 16x16 by the commit f081a78, which also wrote `former/expected.safetensors`.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from genie.agents.agents import load_policy
from genie.runs.loading import load_model
from genie.world.opening import open_world
from genie.world.world_model import WorldModel

FORMER = Path(__file__).parent / "former"


@pytest.fixture(scope="module")
def expected():
    return load_file(FORMER / "expected.safetensors")


@pytest.fixture(scope="module")
def prompt():
    return torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def rollout(world, prompt, actions):
    """The last state, frames [B, n, C, H, W] and rewards [B, n] of some actions."""
    state, frames, rewards = world.reset(prompt), [], []
    for action in actions:
        state, step = world.step(state, torch.tensor([action] * len(prompt)))
        frames.append(step.observation)
        rewards.append(step.reward)
    return state, torch.stack(frames, 1), None if rewards[0] is None else torch.stack(rewards, 1)


@pytest.mark.parametrize("file", sorted(FORMER.glob("*/*/checkpoints/last.ckpt")), ids=lambda file: file.parts[-3])
def test_a_model_of_every_stage_is_loaded(file):
    trained = load_model(file)
    assert trained.trained_steps == 5 and trained.config["stage"]["name"] == file.parts[-3]


def test_a_world_with_rewards_and_a_policy(expected, prompt):
    world = WorldModel.load(FORMER / "former")
    assert torch.equal(world.tokenizer.encode(prompt), expected["tokens"])
    assert torch.equal(world.lam.encode(prompt), expected["latent_actions"])
    state, frames, rewards = rollout(world, prompt, [0, 1, 2])
    torch.testing.assert_close(frames, expected["frames"])
    torch.testing.assert_close(rewards, expected["rewards"])
    policy = load_policy(FORMER / "former", world, greedy=True)
    assert torch.equal(policy.choose(state, 5), expected["policy_actions"])


def test_a_world_of_the_stage_cotrain(expected, prompt):
    frames = rollout(WorldModel.load(FORMER / "former_cotrain"), prompt, [2, 1])[1]
    torch.testing.assert_close(frames, expected["cotrain_frames"])


def test_a_light_simulator(expected, prompt):
    _, frames, rewards = rollout(open_world(FORMER / "former_rssm"), prompt, [0, 1])
    torch.testing.assert_close(frames, expected["simulator_frames"])
    torch.testing.assert_close(rewards, expected["simulator_rewards"])
