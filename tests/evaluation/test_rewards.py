"""Rewards of a world that is right, of one that imagines wrongly, and which states are judged."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from data_modules.held_out_clips import Clips
from genie.common.settings.evaluation import RewardClips
from genie.evaluation.imagination import ImaginedClips
from genie.evaluation.part import require_rewards
from genie.evaluation.rewards import evaluate_reward, judge_reached
from genie.evaluation.trained_run import LeftOut
from genie.models.heads import RewardModel
from genie.models.initialization import initialize

SETTINGS = RewardClips(clips=256, discount=1.0)


def rewards_of(world, clips, prompt=2):
    return evaluate_reward(ImaginedClips(SimpleNamespace(chosen_world=world), clips, prompt, 0), clips, SETTINGS)


def test_a_world_that_is_right(line_world, line_clips):
    clips = line_clips(line_world(), count=24, length=9)
    found = rewards_of(line_world(), clips)
    assert set(found) == {"reached", "imagined"}
    for states, steps in (("reached", slice(0, 8)), ("imagined", slice(1, 8))):
        figures, rewards = found[states], clips.rewards[:, steps]
        assert figures["reward_mse"] < 1e-9 and figures["reward_mse_always_zero"] > 0.1
        assert figures["terminal_recall"] == figures["terminal_precision"] == 1
        assert figures["return_pearson_correlation"] == pytest.approx(1, abs=1e-4)
        assert figures["negative_rewards"] == (rewards < 0).sum() and figures["positive_rewards"] == 0
        assert figures["terminals"] == clips.terminals[:, steps].sum() > 0
        assert not {"precision_positive", "recall_positive", "positive_calibration_error"} & set(figures)


def test_wrong_imagination_shows_in_imagined_states_alone(line_world, line_clips):
    class Drifting(line_world):
        def step(self, state, actions, decode=True):
            state, step = super().step(state, actions)
            return replace(state, places=state.places + 0.3), step

    found = rewards_of(Drifting(), line_clips(line_world()))
    assert found["reached"]["reward_mse"] < 1e-9 < 0.01 < found["imagined"]["reward_mse"]


def test_figures_do_not_depend_on_the_batch(line_world, line_clips):
    clips = line_clips(line_world())
    one, other = (rewards_of(line_world(goal=0.2), replace(clips, batch_size=size)) for size in (3, 12))
    for states in one:
        assert one[states] == pytest.approx(other[states], abs=1e-5)


@pytest.fixture
def rewarded(tokens_world):
    """The world of tokens with a reward model that cares for what it reads."""
    tokens_world.reward_model = model = RewardModel(tokens_world.feature_shape, "state", 16, 2, 8, 31, 5.0).eval()
    initialize(model, 0)
    with torch.no_grad():
        for layer in (model.reward.linear, model.ends):
            layer.weight.normal_()
    return tokens_world


def test_reached_states_are_those_that_a_reward_model_is_trained_on(rewarded):
    clips = Clips(torch.randint(0, 256, (3, 4, 3, 8, 12), dtype=torch.uint8), None, None, None, batch_size=2)
    judged = judge_reached(rewarded, clips)
    expected = rewarded.reward_model(rewarded.trace(clips.floats())[:, 1:])
    torch.testing.assert_close(judged.reward, expected.reward, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(judged.signs, expected.signs, atol=1e-4, rtol=1e-4)
    assert judged.reward.std() > 0.01


def test_without_knowing_what_was_done_only_reached_states_are_judged(rewarded):
    rewarded.lam = None
    frames = torch.randint(0, 256, (3, 4, 3, 8, 12), dtype=torch.uint8)
    rewards = torch.tensor([[0.0, 1, 0, 9]] * 3)  # the last is of no step in the clip
    clips = Clips(frames, None, None, None, batch_size=2, rewards=rewards)
    found = rewards_of(rewarded, clips)
    assert set(found) == {"reached"} and found["reached"]["positive_rewards"] == 3
    assert "recall_positive" in found["reached"] and "terminals" not in found["reached"]


def test_what_is_not_known_is_left_out(tokens_world, line_world, line_clips):
    with pytest.raises(LeftOut, match="knows no rewards"):
        require_rewards(tokens_world)
    with pytest.raises(LeftOut, match="record neither"):
        rewards_of(line_world(), replace(line_clips(line_world()), rewards=None, terminals=None))
