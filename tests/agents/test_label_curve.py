"""Cloning without recorded actions: rules in latent ones, and how many labels it takes to say what they are called."""

import pytest
import torch

from genie.agents import label_curve
from genie.agents.agents import Policy, exploring
from genie.stages import build_stage
from genie.stages.policy import PolicyStage

NAMES = torch.tensor([2, 0, 1])  # what the true actions 0, 1, 2 are called by the latent action model


@pytest.fixture
def latent_world(line_world):
    """A world in latent actions: the true ones under other numbers."""

    class Lam:
        num_actions = 3

        def encode(self, places):
            moves = ((places[:, 1:] - places[:, :-1])[..., 0] / 0.2).round().long() + 1
            return NAMES[moves]

    class LatentWorld(line_world):
        takes_environment_actions = False
        lam = Lam()

        def moves(self, actions):
            return super().moves(NAMES.argsort()[actions])

    return LatentWorld(goal=0.0)


@pytest.fixture
def cloned(latent_world, configure):
    """A policy cloned from action-free clips of an expert that moves to the goal."""
    config = configure("policy", "policy=latent_bc", "policy.network.width=32", "data.num_frames=4")
    config["stage"] |= PolicyStage.describe(config, latent_world)
    stage = build_stage(config)
    stage.use_world(latent_world)
    optimizer = torch.optim.Adam(stage.model.parameters(), lr=3e-3)
    for number in range(100):
        loss, _ = stage.train().compute(expert_clips(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Policy(stage, latent_world, greedy=True)


def expert(places):
    """True actions of the expert."""
    return (-places / 0.2).round().clamp(-1, 1).long() + 1


def expert_clips(number):
    places = [1.6 * torch.rand(32, 1, generator=torch.Generator().manual_seed(number)) - 0.8]
    for _ in range(3):
        places.append(places[-1] + 0.2 * (expert(places[-1]) - 1.0))
    return {"states": torch.stack(places, dim=1), "seed": torch.arange(32)}


class Named:
    """What a map of actions learns: the most frequent name of each, of all where it was never seen."""

    def __init__(self, latent, true):
        self.counts = torch.zeros(3, 3)
        self.counts.index_put_((latent, true), torch.ones(len(true)), accumulate=True)

    def to_true(self, latent):
        seen = self.counts.sum(1, keepdim=True) > 0
        return torch.where(seen, self.counts, self.counts.sum(0)).argmax(1)[latent]


def test_a_clone_acts_like_the_expert_once_it_knows_what_actions_are_called(latent_world, cloned, monkeypatch):
    def fit(world, clips, num_labels, seed):
        true = torch.randint(3, (num_labels,), generator=torch.Generator().manual_seed(seed))
        return Named(NAMES[true], true)

    monkeypatch.setattr(label_curve, "fit_action_map", fit)
    places = torch.linspace(-0.8, 0.8, 40)[:, None]

    def play(choose, action_map, draw):
        """Shares of the true actions that are the expert's, of some starts at a time."""
        done = action_map.to_true(choose(latent_world.reset(places[:, None]), 0))
        return (done == expert(places)[:, 0]).float().view(4, 10).mean(1).tolist()

    curve = label_curve.return_against_labels(cloned, latent_world, None, [1, 60], play, draws=2)
    assert not cloned.gives_environment_actions
    assert curve[60].mean > 0.9 and curve[60].returns.shape == (2, 4)
    assert curve[1].mean < 0.6  # all have the one name that is known
    means = curve[60].returns.mean(1)  # which labels were drawn is what it depends on
    assert curve[60].error == pytest.approx(float(means.std(ddof=1) / 2**0.5))


def test_exploring_draws_other_actions_in_a_share_of_decisions(line_world):
    for world in (line_world(), line_world(continuous=True)):
        state = world.reset(torch.zeros(4000, 1, 1))
        chosen = torch.full((4000, 1), 0.3) if world.continuous else torch.full((4000,), 1)
        explore = exploring(lambda state, seed, chosen=chosen: chosen, world.action_space, 0.3)
        done = explore(state, 7)
        assert torch.equal(done, explore(state, 7)) and not torch.equal(done, explore(state, 8))
        away = float((done != chosen).float().mean())
        assert away == pytest.approx(0.3 if world.continuous else 0.2, abs=0.03)  # a third of them are the chosen one
        assert done.min() >= (-1 if world.continuous else 0) and done.max() <= (1 if world.continuous else 2)
        assert torch.equal(exploring(lambda s, n, chosen=chosen: chosen, world.action_space, 0)(state, 7), chosen)
