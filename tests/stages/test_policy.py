"""Policies learned in the simplest world: a point on a line, rewarded for being near a goal."""

import copy

import pytest
import torch

from genie.agents.agents import Policy, load_policy
from genie.common.errors import UserError
from genie.stages import build_stage
from genie.stages.actor_critic import start
from genie.stages.policy import PolicyStage
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

HORIZON = 8


@pytest.fixture
def make(configure):
    """make(world, policy, *overrides): a stage of a small network in a world that shows states."""

    def build(world, policy="actor_critic", *overrides):
        sizes = ["policy.network.width=32", "policy.network.num_layers=2", "data.num_frames=4"]
        config = configure("policy", f"policy={policy}", *sizes, *overrides)
        config["stage"] |= PolicyStage.describe(config, world)
        stage = build_stage(config)
        stage.use_world(world)
        return stage

    return build


def clips(world, number, batch=32, frames=4):
    """Random walks: a batch of `number`, as the data module gives it."""
    generator = torch.Generator().manual_seed(number)
    if world.continuous:
        actions = 2 * torch.rand(batch, frames, 1, generator=generator) - 1
    else:
        actions = torch.randint(3, (batch, frames), generator=generator)
    places = [1.2 * torch.rand(batch, 1, generator=generator) - 0.6]
    for step in range(frames - 1):
        places.append((places[-1] + world.moves(actions[:, step])).clamp(-0.9, 0.9))
    return {
        "states": torch.stack(places, dim=1),
        "actions": actions,
        "seed": torch.arange(batch) + 1000 * number,
        "terminals": torch.zeros(batch, frames, dtype=torch.bool),
    }


def learn(stage, batches, lr=3e-3):
    """Steps of an optimiser as training takes them; the figures of the last one."""
    optimizer = torch.optim.Adam(stage.model.parameters(), lr=lr)
    stage.train()
    for batch in batches:
        optimizer.zero_grad()
        loss, figures = stage.compute(batch)
        loss.backward()
        stage.objective.before_step(stage.model)
        optimizer.step()
    return figures


def played(world, choose, steps=HORIZON):
    """The mean return of `choose` in the world, from many places."""
    state = world.reset(torch.linspace(-0.6, 0.6, 61)[:, None, None], seed=5)
    total, alive = torch.zeros(61), torch.ones(61)
    for number in range(steps):
        state, step = world.step(state, choose(state, number), decode=False)
        total, alive = total + alive * step.reward, alive * step.continues
    return float(total.mean())


def best(world):
    """The actions that lead nearest to the goal."""
    if world.continuous:
        return lambda state, seed: ((world.goal - state.places) / 0.2).clamp(-1, 1)
    return lambda state, seed: ((world.goal - state.places[:, 0]) / 0.2).round().clamp(-1, 1).long() + 1


@pytest.mark.parametrize("continuous", [False, True])
def test_an_actor_learns_to_reach_the_goal(make, line_world, continuous):
    world = line_world(continuous, goal=0.0)
    stage = make(world, "actor_critic", f"policy.horizon={HORIZON}", "policy.discount=0.9", "policy.slow_decay=0.9")
    before = played(world, Policy(copy.deepcopy(stage), world).choose)
    figures = learn(stage, (clips(world, number) for number in range(110)))
    after, limit = played(world, Policy(stage, world).choose), played(world, best(world))
    assert before < 2 * limit  # returns are below 0: twice as far away
    assert (after - before) / (limit - before) > 0.85, (before, after, limit)
    assert figures["value_error"] < 0.3 and figures["ended"] < 0.05


def test_a_critic_learns_what_is_to_come(make, line_world):
    world = line_world(goal=0.5)
    stage = make(world, "actor_critic", "policy.horizon=2", "policy.discount=0")  # the next reward, and nothing else
    learn(stage, (clips(world, number) for number in range(60)), lr=1e-2)
    values = Policy(stage, world).value(world.reset(torch.tensor([[[-0.5]], [[0.5]]])))
    assert values[0] < -0.5 < -0.3 < values[1]


def test_all_terms_are_logged(make, line_world):
    world = line_world()
    loss, figures = make(world).compute(clips(world, 0))
    wanted = {"actor_loss", "critic_loss", "slow_critic_loss", "imagined_return", "entropy", "value", "value_error",
              "ended", "return_range"}  # fmt: skip
    assert set(figures) == wanted
    terms = figures["actor_loss"] + figures["critic_loss"] + figures["slow_critic_loss"]
    torch.testing.assert_close(loss.detach(), terms)


def test_a_step_is_a_function_of_the_samples(make, line_world):
    """The same whatever was drawn before, and another one of other seeds."""
    world = line_world()
    stage, batch = make(world).eval(), clips(world, 3)
    whole = stage.compute(batch)[0]
    torch.manual_seed(99)
    assert whole == stage.compute(batch)[0]
    assert whole != stage.compute({**batch, "seed": batch["seed"] + 7})[0]


def len_of(world, batch):
    """Which observation of the clips imagination begins from."""
    state, _ = start(world, batch["states"], batch)
    return [bool((batch["states"][:, at] == state.places).all()) for at in range(4)].index(True)


def test_imagination_begins_anywhere_in_a_clip_but_not_behind_an_end(line_world):
    world = line_world()
    begun = {len_of(world, clips(world, number)) for number in range(40)}
    assert begun == {0, 1, 2, 3}
    for number in range(20):
        batch = clips(world, number)
        batch["terminals"][::2, 1] = True
        alive = start(world, batch["states"], batch)[1]
        ended = len_of(world, batch) >= 2
        assert alive.tolist() == [0.0 if ended and row % 2 == 0 else 1.0 for row in range(32)]


def test_what_ended_teaches_nothing(make, line_world):
    world = line_world()
    stage = make(world).eval()
    batch = clips(world, 0)
    batch["terminals"][:] = True
    number = next(n for n in range(40) if len_of(world, {**batch, "seed": clips(world, n)["seed"]}) > 0)
    loss, figures = stage.compute({**batch, "seed": clips(world, number)["seed"]})
    loss.backward()
    assert all(not parameter.grad.any() for parameter in stage.model.parameters())
    assert figures["imagined_return"] == 0


def test_the_slow_critic_follows_and_learns_nothing_itself(make, line_world):
    world = line_world()
    stage = make(world, "actor_critic", "policy.slow_decay=0.75")
    slow, fast = stage.objective.slow.encoder.layers[0].weight, stage.model["critic"].encoder.layers[0].weight
    assert torch.equal(slow, fast)
    with torch.no_grad():
        fast += 4
    stage.objective.before_step(stage.model)
    torch.testing.assert_close(slow, fast - 3)
    stage.compute(clips(world, 0))[0].backward()
    assert slow.grad is None and fast.grad is not None
    trained = {id(parameter) for parameter in stage.trained().parameters()}
    assert not any(id(parameter) in trained for parameter in stage.objective.parameters())


def test_cloning_recovers_a_rule(make, line_world):
    """Recorded: to the right of -0.1 to the left, else to the right."""
    world = line_world()
    stage = make(world, "behaviour_cloning")
    batches = [rule(clips(world, number)) for number in range(120)]
    learn(stage, batches)
    _, figures = stage.eval().compute(rule(clips(world, 999)))
    assert figures["accuracy"] > 0.95 > figures["accuracy_majority"] + 0.2
    chosen = Policy(stage, world, greedy=True).choose(world.reset(torch.tensor([[[-0.5]], [[0.3]]])))
    assert chosen.tolist() == [2, 0]


def rule(batch):
    return {**batch, "actions": torch.where(batch["states"][..., 0] > -0.1, 0, 2)}


def test_cloning_numbers(make, line_world):
    world = line_world(continuous=True)
    stage = make(world, "behaviour_cloning")
    learn(stage, [wave(clips(world, number)) for number in range(150)], lr=1e-2)
    _, figures = stage.eval().compute(wave(clips(world, 999)))
    assert figures["absolute_error"] < 0.1 < figures["absolute_error_of_mean"] / 3


def wave(batch):
    return {**batch, "actions": (1.5 * batch["states"]).clamp(-1, 1)}


def test_what_a_step_leaves_out_of_a_clip_is_its_last_action(make, line_world):
    """An episode's last row holds an action that nobody took."""
    world = line_world()
    stage, batch = make(world, "behaviour_cloning").eval(), clips(world, 0)
    before = stage.compute(batch)[1]["accuracy"]
    batch["actions"][:, -1] = 1 - batch["actions"][:, -1].clamp_max(1)
    assert stage.compute(batch)[1]["accuracy"] == before


@pytest.mark.parametrize("policy", ["actor_critic", "behaviour_cloning"])
def test_a_checkpoint_is_read_without_the_world_and_refused_in_another(make, line_world, policy, tmp_path):
    world = line_world()
    stage = make(world, policy)
    learn(stage, [clips(world, number) for number in range(3)])
    checkpoint = {"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 3}
    stage.on_save_checkpoint(checkpoint)
    path = tmp_path / "policy" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(checkpoint, path)
    state = world.reset(torch.rand(20, 1, 1))
    for where in (path, path.parent.parent, tmp_path):
        assert torch.equal(load_policy(where, world).choose(state, 3), Policy(stage, world).choose(state, 3))
    with pytest.raises(UserError, match="trained in another world"):
        load_policy(path, line_world(goal=0.25))
    with pytest.raises(UserError, match="no checkpoint"):
        load_policy(tmp_path / "nowhere", world)


def test_choices_are_a_function_of_the_seed(make, line_world):
    world = line_world()
    policy = Policy(make(world), world)
    state = world.reset(torch.zeros(100, 1, 1))
    first = policy.choose(state, 1)
    assert torch.equal(first, policy.choose(state, 1)) and not torch.equal(first, policy.choose(state, 2))
    assert 20 < (first == 0).sum() < 50  # undecided: each row draws its own
    seeds = torch.arange(100)
    alone = torch.cat([policy.choose(state.select([row]), seeds[row : row + 1]) for row in range(100)])
    assert torch.equal(policy.choose(state, seeds), alone)
    assert len(policy.choose(world.reset(torch.zeros(100, 1, 1)), 1)[::7].unique()) > 1


def test_data_are_read_by_the_names_that_the_worlds_actions_have(configure, line_world, monkeypatch):
    world, names = line_world(), ["left", "stay", "right"]
    world.config = {"data": {"actions": {"names": names}}}
    monkeypatch.setattr("genie.stages.world_stage.open_named", lambda options: world)

    def completed(*overrides):
        config = configure("policy", "policy=behaviour_cloning", *overrides)
        added, opened = PolicyStage.complete(config, lambda: None)
        assert opened is world
        return (config["data"] | added.get("data", {}))["actions"]["names"]

    assert completed() == completed("data.actions.names=[left,stay,right]") == names
    with pytest.raises(UserError, match="knows its actions as .'left', 'stay', 'right'.: give these"):
        completed("data.actions.names=[right,stay,left]")
    world.takes_environment_actions = False  # the recorded actions are the policy's own
    assert completed("policy.num_actions=3", "data.actions.names=[right,stay,left]") == ["right", "stay", "left"]


def test_what_a_world_lacks_is_one_line(make, line_world):
    unrewarded = line_world()
    unrewarded.knows_rewards = False
    with pytest.raises(UserError, match="knows none: train stage=reward"):
        make(unrewarded)
    with pytest.raises(UserError, match="latent action model"):
        make(line_world(), "latent_bc")
    latent = line_world()
    latent.takes_environment_actions = False
    with pytest.raises(UserError, match="policy.num_actions=3"):
        make(latent, "behaviour_cloning")
    assert make(latent, "behaviour_cloning", "policy.num_actions=5").options["num_actions"] == 5
    pictures = line_world()
    pictures.observation_shape = (3, 8, 8)
    with pytest.raises(UserError, match=r"frames of \[8, 8\] and data.image_size=\[16, 16\]"):
        make(pictures)
    with pytest.raises(UserError, match="policy.horizon=0"):
        make(line_world(), "actor_critic", "policy.horizon=0")


def test_a_frame_is_imagined_in_as_many_passes_as_given(configure, world_run):
    """Of the debug model's world, which has no rewards: a model of them that pays nothing is enough."""
    world = WorldModel.load(world_run)
    world.reward_model = build_stage(
        configure("reward", f"stage.feature_shape={list(world.feature_shape)}",
                  f"stage.observation_shape={list(world.observation_shape)}")
    ).model  # fmt: skip
    made = {}
    for passes in ("null", "1"):
        world.sampler = Sampler(steps=3)
        config = configure("policy", f"policy.passes={passes}", "data.image_size=[64,64]")
        config["stage"] |= PolicyStage.describe(config, world)
        stage = build_stage(config)
        stage.use_world(world)
        state, step = world.step(world.reset(torch.rand(2, 1, 3, 64, 64)), torch.zeros(2, dtype=torch.int64))
        made[passes] = step.passes.tolist()
    assert made == {"null": [3, 3], "1": [1, 1]}


def test_passes_are_a_genie_worlds(make, line_world):
    with pytest.raises(UserError, match="policy.passes=2: only a Genie world"):
        make(line_world(), "actor_critic", "policy.passes=2")


def test_an_actor_begins_from_a_clone(make, line_world, tmp_path):
    world = line_world()
    clone = make(world, "behaviour_cloning")
    learn(clone, [clips(world, number) for number in range(3)])
    path = tmp_path / "clone.ckpt"
    checkpoint = {"state_dict": clone.state_dict(), "hyper_parameters": {"config": clone.config}, "global_step": 3}
    clone.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, path)
    stage = make(world, "actor_critic", f"policy.actor={path}")
    before = {name: value.clone() for name, value in stage.model["actor"].state_dict().items()}
    stage.load_dependencies(world)
    taken, wanted = stage.model["actor"].state_dict(), clone.model["actor"].state_dict()
    assert all(torch.equal(taken[name], wanted[name]) for name in wanted)
    assert not all(torch.equal(before[name], wanted[name]) for name in wanted)
    wider = make(world, "actor_critic", f"policy.actor={path}", "policy.network.width=48")
    with pytest.raises(UserError, match="policy.actor=.* has an actor of another size"):
        wider.load_dependencies(world)
    other = line_world(goal=0.25)
    with pytest.raises(UserError, match="policy.actor=.* was trained in another world"):
        make(other, "actor_critic", f"policy.actor={path}").load_dependencies(other)
