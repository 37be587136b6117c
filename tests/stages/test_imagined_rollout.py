import pytest
import torch

from genie.models.actor_critic import Actor, action_noise
from genie.stages.actor_critic import imagine


@pytest.fixture(params=[False, True], ids=["discrete", "continuous"])
def world(request, line_world):
    return line_world(continuous=request.param)


@pytest.fixture
def actor(world):
    return Actor((1,), None if world.continuous else 3, 1 if world.continuous else None, width=8, num_layers=1)


def test_a_rollout_is_what_its_actions_lead_to(world, actor):
    places = torch.tensor([[[0.5]], [[0.95]], [[-0.3]]])
    rollout = imagine(world, world.reset(places), actor, 4, torch.arange(3))
    expected = places[:, 0]
    for step in range(4):
        assert torch.equal(rollout.features[:, step], expected)
        expected = expected + world.moves(rollout.actions[:, step])
        torch.testing.assert_close(rollout.rewards[:, step], -(expected[:, 0] - world.goal).abs())
        assert torch.equal(rollout.continues[:, step], (expected[:, 0].abs() <= 1).float())
    assert torch.equal(rollout.features[:, 4], expected)


def test_a_rollout_is_the_same_alone_and_in_a_batch(world, actor):
    places, seeds = torch.rand(5, 1, 1), torch.arange(5) + 3
    whole = imagine(world, world.reset(places), actor, 6, seeds)
    alone = imagine(world, world.reset(places[2:3]), actor, 6, seeds[2:3])
    torch.testing.assert_close(whole.actions[2:3], alone.actions)
    torch.testing.assert_close(whole.features[2:3], alone.features)
    other = imagine(world, world.reset(places), actor, 6, seeds + 1)
    assert not torch.equal(whole.actions, other.actions)


def test_each_decision_of_each_world_draws_its_own():
    seeds = torch.arange(50)
    draws = torch.cat([action_noise(seeds, number, 4) for number in range(20)]).flatten()
    assert len(draws) == 4000 and len(draws.unique()) > 3990  # of 2**24 numbers, two are now and then the same
    assert abs(float(draws.mean()) - 0.5) < 0.02 and draws.min() >= 0 and draws.max() < 1
