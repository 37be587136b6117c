"""What every world must be for planners, rewards and policies. An entry of `CASES` puts another kind through it."""

from dataclasses import dataclass

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from genie.models.heads import RewardModel
from genie.models.initialization import initialize
from genie.world.protocol import World

BATCH, LENGTH = 2, 7


@dataclass
class Case:
    """A world, `observations` [B, T, *O] of it and the `actions` [B, T-1] or [B, T-1, A] between them."""

    world: World
    observations: Tensor
    actions: Tensor

    def state(self, seed: int = 0):
        return self.world.reset(self.observations[:, :3], self.actions[:, :2], seed)

    def played(self, state, count: int = 3, decode: bool = True):
        """What `count` steps give, and the state after them."""
        steps = []
        for number in range(count):
            state, step = self.world.step(state, self.actions[torch.arange(len(state)) % BATCH, number], decode)
            steps.append(step)
        return steps, state


def frames() -> Tensor:
    return torch.rand(BATCH, LENGTH, 3, 8, 12, generator=torch.Generator().manual_seed(2))


def taken() -> Tensor:
    return torch.tensor([[0, 1, 2, 2, 1, 0], [2, 0, 0, 1, 2, 1]])


def genie(fixture) -> Case:
    return Case(fixture("world"), frames(), taken())


def genie_uncached(fixture) -> Case:
    world = fixture("world")
    world.cached = False
    return Case(world, frames(), taken())


def genie_of_environment_actions_and_rewards(fixture) -> Case:
    world = fixture("world")
    world.config, world.lam = {"stage": {"actions": "environment"}}, None
    world.reward_model = RewardModel(world.feature_shape, "state", 16, 2, 8, 31, 5.0).eval()
    initialize(world.reward_model, 0)
    with torch.no_grad():  # its heads begin at 0
        world.reward_model.reward.linear.weight.normal_(generator=torch.Generator().manual_seed(0))
        world.reward_model.ends.weight.normal_(generator=torch.Generator().manual_seed(1))
        world.reward_model.knows_ends.fill_(True)
    return Case(world, frames(), taken())


def line(fixture) -> Case:
    places = torch.tensor([0.0, -0.5])[:, None] + 0.2 * (taken() - 1.0).cumsum(1)
    return Case(fixture("line_world")(), torch.cat([torch.tensor([[0.0], [-0.5]]), places], dim=1)[..., None], taken())


def continuous_line(fixture) -> Case:
    actions = torch.rand(BATCH, LENGTH - 1, 1, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return Case(fixture("line_world")(continuous=True), torch.rand(BATCH, LENGTH, 1), actions)


def rssm(fixture) -> Case:
    clips = fixture("make_played_clips")(BATCH, LENGTH)
    return Case(fixture("simulator_worlds")["rssm"], clips["frames"] / 255, clips["actions"][:, :-1])


def delta(fixture) -> Case:
    clips = fixture("make_states")(BATCH, LENGTH)
    return Case(fixture("simulator_worlds")["delta"], clips["states"], clips["actions"][:, :-1])


CASES = (genie, genie_uncached, genie_of_environment_actions_and_rewards, line, continuous_line, rssm, delta)


@pytest.fixture(params=CASES, ids=lambda make: make.__name__)
def case(request):
    return request.param(request.getfixturevalue)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_what_it_says_of_itself(case):
    world, step = case.world, case.played(case.state())[0][-1]
    assert case.observations.shape[2:] == world.observation_shape == step.observation.shape[1:]
    assert world.features(case.state()).shape == (BATCH, *world.feature_shape)
    assert step.reward.shape == step.continues.shape == step.terminal.shape == (BATCH,)
    discrete = isinstance(world.action_space, spaces.Discrete)
    assert case.actions.shape[2:] == (() if discrete else world.action_space.shape)
    assert world.num_context >= 1 and world.fps > 0 and isinstance(world.fingerprint(), str)
    assert world.to(world.device) is world


def test_a_step_is_a_function_of_state_and_actions(case):
    first, second = (case.played(case.state(seed=4))[0] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        close(one.observation, other.observation)
        close(one.reward, other.reward)


def test_an_imagined_step_is_judged_as_it_was_imagined(case):
    if not case.world.knows_rewards:
        return
    before = case.state()
    after, step = case.world.step(before, case.actions[:, 2])
    judged = case.world.judge(before, case.actions[:, 2], after)
    close(judged.reward, step.reward)
    close(judged.continues, step.continues)


def test_forks_are_independent(case):
    world, root = case.world, case.state()
    steps, _ = case.played(root)
    fork = root.select([1, 0, 1])
    world.step(fork, case.actions[[1, 1, 1], 2])  # another future of the same past
    alone = world.step(root.select(torch.tensor([1])), case.actions[1:, 0])[1]
    again, _ = case.played(root)
    for one, other in zip(steps, again, strict=True):
        close(one.observation, other.observation)
    close(alone.observation, steps[0].observation[1:])
    assert len(fork) == 3 and len(root) == BATCH


def test_a_seed_decides_the_future(case):
    root = case.state(seed=1)
    (first,), (second,) = (case.played(root.reseeded(seed), 1)[0] for seed in (5, torch.tensor([8, 9])))
    (same,) = case.played(root.reseeded(torch.tensor([8, 9])), 1)[0]
    close(second.observation, same.observation)
    rows = root.select([0] * 8).reseeded(3)  # one number: each row draws its own
    assert len(rows) == 8 and first.observation.shape == second.observation.shape
    if hasattr(case.world, "sampler"):
        assert not torch.equal(first.observation, second.observation)
        assert len(case.played(rows, 1)[0][0].tokens.unique(dim=0)) > 1


def test_a_warmed_state_is_the_same_state(case):
    root = case.state()
    warm = case.world.warmed(root)
    close(case.world.features(warm), case.world.features(root))
    for one, other in zip(case.played(warm.select([1, 0]))[0], case.played(root.select([1, 0]))[0], strict=True):
        close(one.observation, other.observation)
        close(one.reward, other.reward)
    case.world.observe(warm, case.observations[:, 3], case.actions[:, 2])  # nothing of it was imagined


def test_undecoded_steps_lead_to_the_same_state(case):
    """`decode` afterwards shows what the step would have shown, also where earlier frames were never drawn."""
    for count in (1, 2, 2 * LENGTH // 3 + 2):
        shown, after = case.played(case.state(), count)
        blind, unseen = case.played(case.state(), count, decode=False)
        assert all(step.observation is None for step in blind)
        for one, other in zip(shown, blind, strict=True):
            close(one.reward, other.reward)
            close(one.continues, other.continues)
        close(case.world.decode(unseen), shown[-1].observation)
        close(case.world.decode(after), shown[-1].observation)
        close(case.world.features(unseen), case.world.features(after))
        close(case.world.decode(unseen), case.world.decode(unseen))  # looking changes nothing


def test_a_trace_is_the_features_on_the_way(case):
    traced = case.world.trace(case.observations, case.actions)
    assert traced.shape == (BATCH, LENGTH, *case.world.feature_shape)
    for t in range(LENGTH):
        state = case.world.reset(case.observations[:, : t + 1], case.actions[:, :t])
        close(traced[:, t], case.world.features(state))
    assert not torch.equal(traced[:, 0], traced[:, 1])


def test_more_than_its_context_changes_nothing(case):
    context = case.world.num_context
    if context >= LENGTH:
        pytest.skip("the clip is shorter than the context")
    long = case.world.reset(case.observations, case.actions)
    short = case.world.reset(case.observations[:, -context:], case.actions[:, LENGTH - context :])
    close(case.world.features(long), case.world.features(short))
    close(case.played(long, 1)[0][0].observation, case.played(short, 1)[0][0].observation)


def test_observing_goes_on_and_imagining_is_not_observed(case):
    world, state = case.world, case.state()
    seen = world.observe(state, case.observations[:, 3], case.actions[:, 2])
    assert not torch.equal(world.features(seen), world.features(state))
    imagined, _ = world.step(seen, case.actions[:, 3])
    with pytest.raises(ValueError, match="imagined"):
        world.observe(imagined, case.observations[:, 4], case.actions[:, 3])


def test_probabilities_and_rewards(case):
    steps, _ = case.played(case.state(), 4, decode=False)
    continues, rewards = (torch.stack([getattr(step, name) for step in steps]) for name in ("continues", "reward"))
    assert (continues >= 0).all() and (continues <= 1).all() and rewards.isfinite().all()
    assert torch.equal(torch.stack([step.terminal for step in steps]), continues < 0.5)
    if not case.world.knows_rewards:
        assert (rewards == 0).all() and (continues == 1).all()
    else:
        assert len(rewards.unique()) > 1
