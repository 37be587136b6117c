"""Both simulators as worlds: what planners, policies and rewards rely on."""

import pytest
import torch
from gymnasium import spaces

from genie.common.errors import UserError
from genie.world.simulator_world import DeltaWorld, RssmWorld, SimulatorWorld

KINDS = {"rssm": RssmWorld, "delta": DeltaWorld}


@pytest.fixture(params=KINDS)
def world(simulator_worlds, request):
    return simulator_worlds[request.param]


@pytest.fixture
def prompt(world, make_played_clips, make_states):
    """Observations [3, 5, *O] and the actions [3, 4(, A)] between them."""
    if isinstance(world, RssmWorld):
        clips = make_played_clips(3, 5)
        return clips["frames"] / 255, clips["actions"][:, :-1]
    clips = make_states(3, 5)
    return clips["states"], clips["actions"][:, :-1]


def random_actions(world, *lead, seed=1):
    generator = torch.Generator().manual_seed(seed)
    if isinstance(world.action_space, spaces.Discrete):
        return torch.randint(world.action_space.n, lead, generator=generator)
    return torch.rand(*lead, *world.action_space.shape, generator=generator) * 2 - 1


def future(world, state, seed=1, steps=3):
    """Observations and rewards [steps, B, …] under the same actions in every row."""
    found = []
    for t in range(steps):
        actions = random_actions(world, 1, seed=seed + t)
        state, step = world.step(state, actions.expand(len(state), *actions.shape[1:]))
        found.append((step.observation, step.reward, step.continues))
    return [torch.stack(part) for part in zip(*found, strict=True)]


def test_what_it_is(world, prompt):
    state = world.reset(*prompt)
    after, step = world.step(state, random_actions(world, 3))
    assert step.observation.shape == (3, *world.observation_shape) and step.reward.shape == step.continues.shape == (3,)
    assert torch.equal(world.decode(after), step.observation)
    assert torch.equal(after.ages, state.ages + 1) and not state.ages.any()  # or each step would draw the same
    assert world.features(after).shape == (3, *world.feature_shape)
    assert ((step.continues >= 0) & (step.continues <= 1)).all() and step.reward.abs().max() > 0
    assert world.knows_rewards and world.takes_environment_actions and world.fps == 10.0
    assert world.step(state, random_actions(world, 3), decode=False)[1].observation is None


def test_a_step_is_judged_as_it_was_imagined(world, prompt):
    before, actions = world.reset(*prompt), random_actions(world, 3)
    after, step = world.step(before, actions)
    judged = world.judge(before, actions, after)
    torch.testing.assert_close(judged.reward, step.reward)
    torch.testing.assert_close(judged.continues, step.continues)
    assert world.reward_kind == "state" and judged.signs.shape == (3, 3) and judged.signs.std() > 0


def test_a_trace_is_the_features_of_every_prefix(world, prompt):
    observations, actions = prompt
    observations, actions = observations.repeat_interleave(2, 1), actions.repeat_interleave(2, 1)[:, :7]
    observations = observations[:, :8]  # more than the world looks back
    trace = world.trace(observations, actions)
    assert world.num_context < 8
    for t in range(8):
        state = world.reset(observations[:, : t + 1], actions[:, :t], seed=t)
        torch.testing.assert_close(trace[:, t], world.features(state), atol=1e-5, rtol=1e-4)


def test_what_is_out_of_sight_changes_nothing_and_the_rest_does(world, prompt):
    observations, actions = (part[:, -world.num_context :] for part in (prompt[0], prompt[1]))
    long = torch.cat([torch.zeros_like(observations), observations], 1)
    between = torch.cat([random_actions(world, 3, long.shape[1] - 1 - actions.shape[1]), actions], 1)
    if world.num_context == 1:
        actions = actions[:, :0]
    state, other = world.reset(observations, actions[:, : observations.shape[1] - 1]), world.reset(long, between)
    torch.testing.assert_close(world.features(state), world.features(other))
    changed = observations.clone()
    changed[:, 0] = 1 - changed[:, 0]
    assert not torch.allclose(world.features(world.reset(changed, actions[:, : observations.shape[1] - 1])),
                              world.features(state))  # fmt: skip


def test_observing_is_filtering(world, prompt):
    observations, actions = prompt
    state = world.reset(observations[:, :3], actions[:, :2])
    for t in (3, 4):
        state = world.observe(state, observations[:, t], actions[:, t - 1])
    whole = world.reset(observations, actions)
    torch.testing.assert_close(world.features(state), world.features(whole))
    imagined, _ = world.step(state, random_actions(world, 3))
    with pytest.raises(ValueError, match="observe from the state before it"):
        world.observe(imagined, observations[:, 0], actions[:, 0])


def test_forks_share_nothing_and_the_same_seed_is_the_same_future(world, prompt):
    state = world.reset(*prompt, seed=3)
    before = state.values.clone()
    fork = state.select([1, 1, 0])
    ours, theirs = future(world, state), future(world, fork)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[:, [1, 1, 0]], other)  # alone or in other company
    assert torch.equal(state.values, before)
    reseeded = state.select([1] * 64).reseeded(7)
    assert len(reseeded.seeds.unique()) == 64
    many = future(world, reseeded)[0].flatten(2)
    assert (many - many[:, :1]).abs().max() > 1e-3  # other seeds, other futures
    assert torch.equal(future(world, reseeded)[0], future(world, state.select([1] * 64).reseeded(7))[0])


def test_actions_matter_from_their_own_step_on(world, prompt):
    state = world.reset(*prompt)
    first, second = random_actions(world, 3, 2).unbind(1)
    other = (second + 1) % 3 if second.dtype == torch.int64 else -second
    middle, step = world.step(state, first)
    again, same = world.step(state, first)
    assert torch.equal(step.observation, same.observation) and torch.equal(middle.values, again.values)
    (_, one), (_, two) = world.step(middle, second), world.step(middle, other)
    assert not torch.allclose(one.observation, two.observation) and not torch.equal(one.reward, two.reward)


def test_prompts_without_actions_and_wrong_actions(world, prompt):
    state = world.reset(prompt[0])
    assert len(state) == 3
    wrong = torch.tensor([0, 3, 1]) if isinstance(world, RssmWorld) else torch.zeros(3, 2)
    with pytest.raises(UserError, match="action"):
        world.step(state, wrong)


def test_a_world_without_rewards_knows_none(build_simulator, make_states):
    world = DeltaWorld(build_simulator("delta", "simulator.objective.reward=0", "simulator.objective.continues=0"))
    torch.nn.init.normal_(world.model.outcomes.reward.linear.weight)
    torch.nn.init.constant_(world.model.outcomes.continues.bias, -9)
    _, step = world.step(world.reset(make_states()["states"]), torch.zeros(2, 1))
    assert not world.knows_rewards and not step.reward.any() and (step.continues == 1).all()


# -- the ensemble ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ensemble(simulator_worlds, make_states):
    """A world of the ensemble whose ways to imagine may be changed, and a state of 40 rows."""
    world = DeltaWorld.__new__(DeltaWorld)
    delta = simulator_worlds["delta"]
    world.__dict__ |= delta.__dict__ | {"settings": dict(delta.settings)}
    return world, world.reset(make_states(1, 1)["states"].repeat(40, 1, 1), seed=1)


def test_a_world_follows_one_member_for_life_or_the_mean(ensemble):
    world, state = ensemble
    actions, vectors = torch.full((40, 1), 0.3), torch.full((40, 1), 0.3)
    model = world.model
    each = model.following(state.values, model.predict(state.values, vectors).delta)  # [M, B, n]
    after, step = world.step(state, actions)
    member = (after.values - each).abs().amax(-1).argmin(0)
    assert set(member.tolist()) == set(range(5))
    then, _ = world.step(after, actions)
    each = model.following(after.values, model.predict(after.values, vectors).delta)
    assert torch.equal((then.values - each).abs().amax(-1).argmin(0), member)
    world.propagate = "mean"
    mean, _ = world.step(state, actions)
    assert (mean.values - mean.values[0]).abs().max() < 1e-6
    spread = model.normalized(model.following(state.values, model.predict(state.values, vectors).delta))
    torch.testing.assert_close(step.disagreement, spread.std(0, correction=0).mean(-1))


def test_pessimism_takes_disagreement_off_the_reward(ensemble):
    world, state = ensemble
    _, plain = world.step(state, torch.zeros(40, 1))
    world.pessimism = 2.0
    _, careful = world.step(state, torch.zeros(40, 1))
    torch.testing.assert_close(careful.reward, plain.reward - 2 * plain.disagreement)
    assert plain.disagreement.min() > 1e-4


def test_changes_are_drawn_where_that_is_asked_for(build_simulator, make_states):
    options = ["simulator.model.head=gaussian", "simulator.propagate=mean", "simulator.imagine=sample"]
    world = DeltaWorld(build_simulator("delta", *options, "simulator.model.num_members=1"))
    state = world.reset(make_states(1, 1)["states"].repeat(4000, 1, 1), seed=1)
    actions = torch.zeros(4000, 1)
    drawn, _ = world.step(state, actions)
    prediction = world.model.predict(state.values[:1], actions[:1])
    expected = world.model.following(state.values[:1], prediction.delta)[0, 0]
    spread = (prediction.log_variance[0, 0] / 2).exp() * world.model.change
    torch.testing.assert_close(drawn.values.mean(0), expected, atol=0.1 * spread.max().item(), rtol=0)
    torch.testing.assert_close(drawn.values.std(0), spread, rtol=0.1, atol=0)


# -- loading -----------------------------------------------------------------------------------------------------------


def test_a_world_is_loaded_from_its_run(build_simulator, prompt, world, tmp_path):
    kind = "rssm" if isinstance(world, RssmWorld) else "delta"
    stage = build_simulator(kind, "data.num_frames=6")
    folder = tmp_path / "simulator" / "checkpoints"
    folder.mkdir(parents=True)
    state = {"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 3}
    torch.save(state, folder / "last.ckpt")
    loaded = SimulatorWorld.load(tmp_path)
    assert type(loaded) is KINDS[kind] and loaded.fingerprint() == KINDS[kind](stage).fingerprint()
    assert loaded.fingerprint() != world.fingerprint()
    ours, theirs = (future(one, one.reset(*prompt, seed=2))[0] for one in (loaded, KINDS[kind](stage)))
    assert torch.equal(ours, theirs)
    with pytest.raises(UserError, match="holds no trained simulator"):
        SimulatorWorld.load(tmp_path / "other")
