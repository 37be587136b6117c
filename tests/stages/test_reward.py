"""A reward model learns what the states after steps are worth, from rewards, returns or preferences."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_modules.data_info import DataInfo
from genie.common.errors import UserError
from genie.models.heads import segment_return
from genie.stages import build_stage, complete
from genie.stages.reward import labels_of

pytestmark = pytest.mark.filterwarnings("error:Metric `Spearman.*", "error:The variance of predictions.*")
STEPS = 7
DATA = DataInfo(3, None, [], 10.0, None, None, state_mean=np.zeros(1), state_std=np.ones(1))
SMALL = ("reward.network.width=32", "optimizer.lr=1e-2", "stage.observation_shape=[1]", "stage.feature_shape=[1]")


@pytest.fixture
def stage(configure, line_world):
    """stage(kind, *overrides): a reward stage on the line, whose features are its places."""

    def make(kind, *overrides):
        built = build_stage(configure("reward", f"reward={kind}", *SMALL, *overrides))
        built.use_world(line_world())
        built.set_data_info(DATA)
        return built

    return make


def clips(seed, batch=32):
    """Places that nothing foretells; beyond 0.8 there is a reward, beyond -0.9 it is over. With `weights` of 1."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(batch, STEPS + 1, 1, generator=generator) * 2 - 1
    after = torch.cat([places[:, 1:, 0], torch.zeros(batch, 1)], dim=1)  # of step t
    return {
        "states": places,
        "actions": torch.zeros(batch, STEPS + 1, dtype=torch.int64),
        "rewards": (after > 0.8).float(),
        "terminals": after < -0.9,
        "seed": torch.arange(batch) + 1000 * seed,
    }


def train(stage, steps=150, change=lambda batch: batch, lr=1e-2):
    """After so many steps, each on clips that `change` has changed."""
    optimizer = torch.optim.AdamW(stage.trained().parameters(), lr=lr)
    stage.observations = lambda batch: batch["states"]
    for step in range(steps):
        loss, _ = stage.train().compute(change(clips(step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return stage.eval()


def test_a_reward_is_read_from_the_state_after_its_step(stage):
    """Places are drawn anew at each step: shifted by one, nothing could be learned."""
    trained = train(stage("state"))
    values = torch.tensor([[0.5], [0.95], [-0.5], [-0.97]])
    judged = trained.model(values)
    assert judged.reward.tolist() == pytest.approx([0, 1, 0, 0], abs=0.25)
    assert (judged.continues < 0.5).tolist() == [False, False, False, True]
    trained.compute(clips(999, 200))
    figures = trained.validation.compute()
    assert figures["recall_positive"] > 0.8 and figures["precision_positive"] > 0.8 and figures["terminal_recall"] > 0.6
    assert figures["preference_accuracy"] > 0.9 and figures["reward_mse"] < 0.5 * figures["reward_mse_always_mean"]


def test_weights_undo_how_clips_were_drawn(stage):
    """Steps with a reward came five times too often and weigh a fifth: what is predicted is the mean with weights."""
    batch = clips(0, 64) | {"states": torch.zeros(64, STEPS + 1, 1)}  # nothing can be told
    often = batch["rewards"] > 0
    batch["weights"] = torch.where(often, 0.2, 1.0)
    trained = train(stage("state"), 100, lambda _: batch, lr=0.1)
    judged = trained.model(torch.zeros(1, 1))
    weights, rewards, terminals = (batch[name][:, :-1].float() for name in ("weights", "rewards", "terminals"))
    expected = (weights * rewards).sum() / weights.sum()
    assert judged.reward.item() == pytest.approx(expected.item(), abs=0.01) and expected < 0.4 * rewards.mean()
    assert 1 - judged.continues.item() == pytest.approx(((weights * terminals).sum() / weights.sum()).item(), abs=0.01)


@pytest.mark.parametrize("kind", ["trajectory", "preference"])
def test_sums_tell_what_states_are_worth(stage, kind):
    trained = train(stage(kind, "reward.continue_weight=0"), 200)
    worth = trained.model(torch.tensor([[0.95], [0.5], [-0.5]])).reward
    assert worth[0] > worth[1] + 0.5 and (worth[1] - worth[2]).abs() < 0.3 * (worth[0] - worth[1])
    if kind == "trajectory":
        assert worth.tolist() == pytest.approx([1, 0, 0], abs=0.3)
    trained.compute(clips(999, 100))
    figures = trained.validation.compute()
    assert figures["preference_accuracy"] > 0.9 and figures["return_spearman_correlation"] > 0.8


def test_returns_and_labels():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 8.0]])
    assert segment_return(rewards, 0.5).tolist() == [3, 2] and segment_return(rewards, 1.0).tolist() == [7, 8]
    returns, seeds = torch.tensor([3.0, 2.0, 2.0, 9.0]), torch.arange(4)
    assert labels_of(returns, seeds, margin=0.0, noise=0.0).tolist() == [0, 0, 0.5, 1]  # each beside the one before it
    assert labels_of(returns, seeds, margin=1.0, noise=0.0).tolist() == [0, 0.5, 0.5, 1]
    many = torch.arange(4000.0)
    noisy = labels_of(many, torch.arange(4000), 0.0, 0.2)
    assert (noisy[1:] == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(noisy, labels_of(many, torch.arange(4000), 0.0, 0.2))


def test_where_ends_are_not_recorded_everything_goes_on(stage):
    trained = train(stage("state"), 2, lambda batch: {key: batch[key] for key in batch if key != "terminals"})
    assert (trained.model(torch.rand(5, 1)).continues == 1).all()
    assert train(trained, 2).model.knows_ends and (trained.model(torch.rand(5, 1)).continues < 1).all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reward.network.width=0"], "reward.network.width=0 must be a whole number"),
        (["+reward.network.widht=3"], "reward: .*'widht'"),
        (["reward.network.num_bins=62"], "reward: num_bins=62 must be odd"),
        (["reward.discount=0"], "reward.discount=0 must be a number above 0"),
        (["stage.rare_share=1"], "stage.rare_share=1 must be a number of at least 0 and below 1"),
        (["reward=preference", "reward.label_noise=0.5"], "reward.label_noise=0.5"),
        (["reward=preference", "data.batch_size=1"], "data.batch_size=1: a preference"),
        (["stage.feature_shape=null", "stage.world=no"], "no holds no trained world: there is no such folder"),
    ],
)
def test_wrong_options_are_one_line(configure, overrides, words):
    with pytest.raises(UserError, match=words) as error:
        config = configure("reward", *SMALL, *overrides)
        complete(config, lambda: None)
        build_stage(config)
    assert "\n" not in str(error.value)


def test_a_world_that_does_not_fit_is_one_line(stage, line_world):
    built = stage("state")
    other = line_world()
    other.feature_shape = (4,)
    with pytest.raises(UserError, match=r"feature_shape \(4,\), stage.feature_shape is \(1,\)"):
        built.use_world(other)
    other.feature_shape, other.observation_shape = (1,), (3, 8, 8)
    with pytest.raises(UserError, match=r"observation_shape \(3, 8, 8\), stage.observation_shape is \(1,\)"):
        built.use_world(other)
    with pytest.raises(UserError, match="observes 1 numbers, and the data hold states of 2"):
        built.set_data_info(replace(DATA, state_mean=np.zeros(2), state_std=np.ones(2)))
    with pytest.raises(UserError, match="observes 1 numbers, and the data hold no states"):
        built.set_data_info(replace(DATA, state_mean=None))
    with pytest.raises(UserError, match="the data has no true actions and the world .* takes 3"):
        built.set_data_info(replace(DATA, num_actions=None))
