"""Planners find what is best, for the reasons they should: on a line whose best plans are known."""

import itertools
from dataclasses import replace

import pytest
import torch

from genie.common.errors import UserError
from genie.common.random import FrameNoise
from genie.world.protocol import Step

ALL = ["random_shooting", "cem", "mppi", "mpc"]
REFINED = ["cem", "mppi"]
HORIZON = 5


def best_on_the_line(world, start, discount, horizon=HORIZON):
    """The most that any plan of discrete actions is worth, all of them tried."""
    plans = torch.tensor(list(itertools.product(range(3), repeat=horizon)))
    state = world.reset(torch.full((len(plans), 1, 1), start))
    worth, weight = torch.zeros(len(plans)), torch.ones(len(plans))
    for action in plans.T:
        state, step = world.step(state, action)
        worth += weight * step.reward
        weight = weight * discount * step.continues
    return float(worth.max())


@pytest.mark.parametrize("name", ALL)
def test_the_best_discrete_plan_is_found(line_world, planner, at, name):
    world = line_world(goal=0.5)
    plan = planner(world, name, horizon=HORIZON, candidates=200, hold=2).plan(at(world, -0.1, 0.9), seed=0)
    best = [best_on_the_line(world, start, 0.99) for start in (-0.1, 0.9)]
    assert plan.value.tolist() == pytest.approx(best, abs=1e-5)
    assert plan.first.tolist() == [2, 0]


@pytest.mark.parametrize("name", ALL)
def test_the_best_continuous_plan_is_found(line_world, planner, at, name):
    """0.2, 0.4, 0.5 and there it stays: 0.3 + 0.1 are lost on the way."""
    world = line_world(continuous=True, goal=0.5)
    plan = planner(world, name, horizon=HORIZON, candidates=200, discount=1.0).plan(at(world, 0.0), seed=0)
    assert float(plan.value) == pytest.approx(-0.4, abs=0.2 if name == "random_shooting" else 0.06)
    assert float(plan.first) > 0.9
    assert plan.actions.abs().max() <= 1


@pytest.mark.parametrize("name", REFINED)
def test_drawing_again_beats_drawing_once_at_the_same_budget(line_world, planner, at, name):
    world = line_world(continuous=True, goal=0.5)
    states = at(world, *torch.linspace(-0.9, 0.9, 20).tolist())
    once = planner(world, "random_shooting", horizon=8, candidates=133).plan(states, seed=0)
    again = planner(world, name, horizon=8, candidates=32).plan(states, seed=0)
    assert again.num_candidates == once.num_candidates == 133
    assert again.value.mean() > once.value.mean() + 0.1


@pytest.mark.parametrize("name", ALL)
def test_a_plan_is_worth_what_it_says(line_world, planner, at, name):
    world = line_world(continuous=True, goal=0.3)
    plan = planner(world, name, horizon=4, candidates=8).plan(at(world, -0.5, 0.0), seed=0)
    state, worth = at(world, -0.5, 0.0), 0
    for number, action in enumerate(plan.actions.unbind(1)):
        state, step = world.step(state, action)
        worth = worth + 0.99**number * step.reward
    assert torch.allclose(plan.value, worth) and torch.allclose(plan.imagined_return, worth)
    assert torch.equal(plan.candidates[:, 0], plan.actions)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", ["random_shooting", "cem", "mppi"])
def test_a_warm_start_makes_tiny_budgets_better(line_world, planner, at, name, continuous):
    world = line_world(continuous=continuous, goal=0.9)
    once = {} if name == "random_shooting" else {"iterations": 1}
    search = planner(world, name, horizon=8, candidates=6, hold=1, **once)

    def played(warm):
        state, plan, total = at(world, *[-0.2] * 16), None, 0
        for number in range(10):
            plan = search.plan(state, number, plan if warm else None)
            state, step = world.step(state, plan.first)
            total += float(step.reward.mean())
        return total

    assert played(warm=True) > played(warm=False) + 0.3


@pytest.mark.parametrize("name", ALL)
def test_no_reward_behind_the_end_is_walked_off_for(line_world, planner, at, name):
    """Ten lie at 1.4 and the line ends at 1; at 0.6 … 1 there is one."""

    class Trap(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions, decode)
            place = state.places[:, 0]
            reward = 10.0 * (place > 1.3) + 1.0 * ((place > 0.55) & (place <= 1.01))
            return state, Step(reward, (place <= 1.01).float(), step.observation)

    world = Trap()
    plan = planner(world, name, horizon=8, candidates=100).plan(at(world, 0.8), seed=0)
    state = at(world, 0.8)
    for action in plan.actions.unbind(1):
        state, step = world.step(state, action)
        assert not step.terminal
    assert float(plan.value) == pytest.approx(sum(0.99**k for k in range(8)), abs=1e-4)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_plan_depends_on_its_own_state_and_seed_alone(line_world, planner, at, name, continuous):
    world = line_world(continuous=continuous, goal=0.1)
    search = planner(world, name, horizon=4, candidates=12, particles=2)
    seeds = torch.tensor([11, 12, 13])
    together = search.plan(at(world, -0.5, 0.0, 0.5), seeds)
    later = search.plan(at(world, -0.4, 0.0, 0.4), seeds + 1, together)
    for row, (start, second) in enumerate([(-0.5, -0.4), (0.0, 0.0), (0.5, 0.4)]):
        alone = search.plan(at(world, start), seeds[row : row + 1])
        assert torch.allclose(alone.actions[0].float(), together.actions[row].float(), atol=1e-5)
        after = search.plan(at(world, second), seeds[row : row + 1] + 1, alone)
        assert torch.allclose(after.actions[0].float(), later.actions[row].float(), atol=1e-5)
    assert not torch.equal(search.plan(at(world, -0.5, 0.0, 0.5), seeds + 7).candidates, together.candidates)


@pytest.mark.parametrize("name", ALL)
def test_the_size_of_chunks_changes_nothing(line_world, planner, at, name):
    world, plans = line_world(goal=0.1), []
    for size in (1, 5, 1000):
        search = planner(world, name, horizon=4, candidates=9, particles=2, batch_size=size)
        plans.append(search.plan(at(world, -0.5, 0.5), seed=3))
    for plan in plans[1:]:
        assert torch.equal(plan.candidates, plans[0].candidates) and torch.equal(plan.value, plans[0].value)


@pytest.mark.parametrize("name", ALL)
def test_no_time_still_gives_a_plan(line_world, planner, at, name):
    world = line_world()
    search = planner(world, name, horizon=4, candidates=64, batch_size=2, seconds=0.0)
    plan = search.plan(at(world, 0.0, 0.2), seed=0)
    assert plan.actions.shape == (2, 4) and plan.num_candidates == 1  # the first batch, and no more
    assert planner(world, name, horizon=4, candidates=64, seconds=1e6).plan(at(world, 0.0), 0).num_candidates >= 64


def test_rows_imagined_at_once_are_no_more_than_asked_for(line_world, planner, at):
    sizes = []

    class Watched(line_world):
        def step(self, state, actions, decode=True):
            sizes.append(len(state))
            assert not decode
            return super().step(state, actions, decode)

    world = Watched()
    planner(world, "cem", horizon=2, candidates=16, particles=3, batch_size=7).plan(at(world, 0.0, 0.1, 0.2), seed=0)
    assert max(sizes) <= 7


class Noisy:
    """Makes a line's world give 1 for moving right with noise of 3, and 0.5 for all else: one draw often lies."""

    def __new__(cls, line_world):
        class World(line_world):
            def step(self, state, actions, decode=True):
                after, step = super().step(state, actions, decode)
                u = FrameNoise(state.seeds, torch.zeros_like(state.seeds)).uniform(0, 1)[:, 0]
                right = actions == 2
                reward = torch.where(right, 1 + 10 * (u - 0.5), torch.full_like(u, 0.5))
                return replace(after, seeds=state.seeds + 1), Step(reward, torch.ones_like(u), step.observation)

        return World()


def test_futures_are_averaged_so_that_luck_does_not_choose(line_world, planner, at):
    world, states = Noisy(line_world), at(Noisy(line_world), *[0.0] * 64)
    right = {}
    for particles in (1, 256):
        settings = {"horizon": 1, "candidates": 16, "hold": 1, "particles": particles, "batch_size": 2**14}
        search = planner(world, "random_shooting", **settings)
        right[particles] = float((search.plan(states, seed=0).first == 2).float().mean())
    assert right[1] < 0.75 and right[256] > 0.95


def test_common_futures_leave_candidates_to_differ_by_their_actions(line_world, planner, at):
    world, state = Noisy(line_world), at(Noisy(line_world), 0.0)
    for common in (True, False):
        search = planner(world, "random_shooting", horizon=1, candidates=8, common_noise=common)
        futures = torch.arange(8)[None, :, None] * (not common)
        worth, _ = search.objective(state, torch.full((1, 8, 1), 2), futures)
        assert (worth.unique().numel() == 1) == common


def test_common_noise_is_the_same_for_all_candidates_and_another_in_each_iteration():
    from genie.planning.distributions import PlanNoise

    noise = PlanNoise(torch.tensor([1, 2]))
    common, own = noise.futures(0, 5, 3, True), noise.futures(0, 5, 3, False)
    assert common.shape == own.shape == (2, 5, 3)
    assert common.unique().numel() == 6 and own.unique().numel() == 30
    assert not set(common.flatten().tolist()) & set(noise.futures(1, 5, 3, True).flatten().tolist())


def test_what_lies_behind_the_horizon_counts(line_world, planner, at):
    """One step to either side is the same; the value of the state tells."""
    world = line_world(goal=0.0)
    search = planner(world, "cem", value=lambda state: 10 * state.places[:, 0], horizon=1, candidates=16, discount=0.5)
    plan = search.plan(at(world, 0.0), seed=0)
    assert plan.first.tolist() == [2]
    assert float(plan.value) == pytest.approx(-0.2 + 0.5 * 10 * 0.2, abs=1e-5)
    assert float(plan.imagined_return) == pytest.approx(-0.2, abs=1e-5)
    blind = planner(world, "cem", value=lambda state: None, horizon=1, candidates=16).plan(at(world, 0.0), seed=0)
    assert blind.first.tolist() == [1]


def test_penalties_are_no_rewards(line_world, planner, at):
    world = line_world(continuous=True, goal=0.5)
    free = planner(world, "cem", horizon=3).plan(at(world, 0.0), seed=0)
    costly = planner(world, "cem", horizon=3, effort=5.0).plan(at(world, 0.0), seed=0)
    assert costly.actions.abs().mean() < 0.2 < free.actions.abs().mean()
    assert costly.value < costly.imagined_return - 1e-4
    world = line_world(goal=0.0)
    search = planner(world, "random_shooting", horizon=3, candidates=4, change=1.0, discount=1.0)
    plans = torch.tensor([[[1, 1, 1], [2, 0, 1]]])
    worth, rewards = search.objective(at(world, 0.0), plans, torch.zeros(1, 2, 1, dtype=torch.int64))
    assert (rewards - worth)[0].tolist() == pytest.approx([0, 2])


@pytest.mark.parametrize("name", ALL)
def test_an_end_costs_what_is_asked_for_it(line_world, planner, at, name):
    """A little is paid for walking off the line, and nothing else: a price on ends decides."""

    class Cliff(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions, decode)
            gone = (state.places[:, 0] > 1).float()
            return state, Step(0.1 * gone, 1 - 0.5 * gone, step.observation)

    world = Cliff()
    free = planner(world, name, horizon=4, discount=0.5).plan(at(world, 0.9), seed=0)
    priced = planner(world, name, horizon=4, discount=0.5, end=1.0).plan(at(world, 0.9), seed=0)
    assert float(free.value) > 0 and float(priced.value) == float(priced.imagined_return) == 0
    search = planner(world, "random_shooting", horizon=3, discount=0.5, end=1.0)
    plans = torch.tensor([[[2, 2, 2], [1, 1, 2], [0, 0, 0]]])
    worth, rewards = search.objective(at(world, 0.9), plans, torch.zeros(1, 3, 1, dtype=torch.int64))
    # each step beyond ends it with a half of what is left: 1/2, then γ/4, then γ²/8
    assert (rewards - worth)[0].tolist() == pytest.approx([0.5 + 0.25 * 0.5 + 0.125 * 0.25, 0.5 * 0.25, 0.0])
    assert rewards[0].tolist() == pytest.approx([0.1 * (1 + 0.25 + 0.0625), 0.1 * 0.25, 0.0])


def test_some_actions_of_a_plan_are_done_before_the_next(line_world, planner, at):
    world = line_world(goal=0.5)
    mpc = planner(world, "mpc", horizon=5, candidates=32, execute=3)
    first = mpc.plan(at(world, 0.0), seed=0)
    world.steps = 0
    second = mpc.plan(at(world, 0.2), 1, first)
    third = mpc.plan(at(world, 0.4), 2, second)
    assert world.steps == 0  # nothing was imagined for them
    assert [int(plan.first) for plan in (first, second, third)] == first.actions[0, :3].tolist()
    assert mpc.plan(at(world, 0.6), 3, third).age == 0 and world.steps > 0


def test_a_candidate_without_a_number_is_never_the_plan(line_world, planner, at):
    class Broken(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions, decode)
            return state, replace(step, reward=torch.where(actions == 2, torch.nan, step.reward))

    world = Broken(goal=0.9)
    for name in ALL:
        plan = planner(world, name, horizon=3, candidates=128, hold=1).plan(at(world, 0.0, 0.1), seed=0)
        assert plan.value.isfinite().all() and not (plan.actions == 2).any()


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("cem", {"horizon": 0}, "planner.horizon=0 must be a whole number"),
        ("cem", {"candidates": 2}, "planner.candidates=2 must be a whole number of at least 4"),
        ("cem", {"elites": 0}, "planner.elites=0 must be a number above 0 and at most 1"),
        ("mppi", {"temperature": 0.0}, "planner.temperature=0.0"),
        ("cem", {"discount": 1.5}, "planner.discount=1.5 must be a number from 0 to 1"),
        ("random_shooting", {"hold": 0.5}, "planner.hold=0.5"),
        ("cem", {"end": -1.0}, "planner.end=-1.0 must be a number of at least 0"),
        ("random_shooting", {"seconds": -1}, "planner.seconds=-1"),
        ("mpc", {"execute": 99}, "planner.execute=99 must be a whole number in 1 … planner.optimizer.horizon=12"),
        ("cem", {"name": "shooting"}, "planner.name=shooting must be one of random_shooting, cem, mppi, mpc"),
    ],
)
def test_a_wrong_value_is_one_line(line_world, planner, name, values, words):
    with pytest.raises(UserError, match=".") as error:
        planner(line_world(), name, **values)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_world_without_rewards_is_refused(line_world, planner):
    world = line_world()
    world.knows_rewards = False
    with pytest.raises(UserError, match="stage=reward name=line"):
        planner(world, "cem")


def test_the_rest_of_the_plan_before_is_a_candidate(line_world, planner, at):
    world = line_world()
    search = planner(world, "cem", horizon=4, candidates=8)
    before = search.plan(at(world, 0.0), seed=0)
    before = replace(before, actions=torch.tensor([[0, 1, 2, 1]]))
    seen, objective = [], search.objective
    search.objective = lambda state, actions, futures: seen.append(actions) or objective(state, actions, futures)
    search.plan(at(world, 0.2), 1, before)
    assert seen[0][0, 0].tolist() == [1, 2, 1, 1]


def test_a_plan_through_what_is_not_known_costs(line_world, planner, at):
    """The goal lies to the right, and there the world is unsure."""

    class Unsure(line_world):
        knows_uncertainty = True

        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions, decode)
            return state, replace(step, uncertainty=(state.places[:, 0] > 0.25).float())

    world = Unsure(goal=0.5)
    bold, careful = (
        planner(world, "cem", horizon=HORIZON, candidates=200, hold=2, uncertainty=penalty).plan(at(world, 0.0), seed=0)
        for penalty in (0.0, 5.0)
    )
    state, places = world.reset(torch.full((1, 1, 1), 0.0)), []
    for action in careful.actions[0]:
        state, _ = world.step(state, action[None])
        places.append(float(state.places[0, 0]))
    assert bold.first.tolist() == [2] and max(places) <= 0.25
    sure = line_world(goal=0.5)
    sure.knows_uncertainty = False
    with pytest.raises(UserError, match="planner.uncertainty=5: this world does not say how unsure it is"):
        planner(sure, "cem", uncertainty=5)
