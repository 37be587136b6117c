"""Which object the actions move is found in the data, and whether it obeys in what was generated."""

import math

import pytest
import torch

from genie.metrics.actions import Obedience

MOVES = torch.tensor([0.0, -3.0, 3.0])  # of the paddle, by action
NUM_CLIPS, LENGTH, GIVEN = 12, 20, 4


def paths(actions, moves=MOVES):
    """[B, T, 2, 2]: a ball that goes its own way, and a paddle that its actions move along y."""
    paddle = torch.cat([torch.full((len(actions), 1), 90.0), moves[actions]], dim=1).cumsum(1)
    ball = torch.randn(len(actions), LENGTH, 2).cumsum(1)
    return torch.stack([ball, torch.stack([torch.full_like(paddle, 56.0), paddle], dim=-1)], dim=2)


def measured(made, objects, actions, batches=1):
    metric = Obedience(2, 3)
    for part in torch.arange(len(made)).chunk(batches):
        metric.update(made[part], objects[part], actions[part])
    return metric.compute()


@pytest.fixture
def actions():
    return torch.randint(0, 3, (NUM_CLIPS, LENGTH - 1))


def test_the_perfect_game_obeys(actions):
    objects = paths(actions)
    found = measured(objects[:, GIVEN:], objects, actions)
    assert (found["object"], found["axis"]) == (1, "y")  # the paddle, which nobody named
    assert found["dependence"] == pytest.approx(1) and found["correlation"] == pytest.approx(1)
    assert found["sign_accuracy"] == 1 and found["transitions"] == NUM_CLIPS * (LENGTH - GIVEN)
    assert found["generated"].tolist() == pytest.approx([0, -3, 3]) == found["true"].tolist()
    assert found["count"].tolist() == torch.bincount(actions[:, GIVEN - 1 :].flatten()).tolist()


def test_what_goes_the_wrong_way_half_as_far_is_told(actions):
    objects = paths(actions)
    made = objects.clone()
    made[:, GIVEN:, 1, 1] = 90 - (objects[:, GIVEN:, 1, 1] - 90) / 2
    made[:, GIVEN - 1, 1] = torch.tensor([56.0, math.nan])
    found = measured(made[:, GIVEN:], objects, actions)
    only_made = slice(GIVEN, None)  # the first transition starts at the true frame, wherever that was
    assert found["sign_accuracy"] < 0.1 and found["correlation"] < 0
    assert found["count"].sum() == actions[:, only_made].numel() + NUM_CLIPS


def test_an_action_acts_in_the_next_frame(actions):
    """Displacements that are those of the action before, or of the one after, are no obedience."""
    objects = paths(actions)
    for shift in (-1, 1):
        made = paths(actions.roll(shift, 1))
        assert measured(made[:, GIVEN:], objects, actions)["correlation"] < 0.5


def test_what_is_lost_or_twice_is_left_out_and_batches_add_up(actions):
    objects = paths(actions)
    made = objects[:, GIVEN:].clone()
    made[:3, 5, 1] = math.nan
    found = measured(made, objects, actions)
    assert found["transitions"] == NUM_CLIPS * (LENGTH - GIVEN) - 6  # before it and after it
    again = measured(made, objects, actions, batches=5)
    assert found["correlation"] == pytest.approx(again["correlation"]) and torch.equal(found["count"], again["count"])


def test_actions_that_move_nothing_have_no_obedience(actions):
    objects = paths(actions)
    objects[:, :, 1, 1] = torch.randn(NUM_CLIPS, LENGTH).cumsum(1)
    assert measured(objects[:, GIVEN:], objects, actions) is None
    assert measured(objects[:1, GIVEN:] * math.nan, objects[:1] * math.nan, actions[:1]) is None
