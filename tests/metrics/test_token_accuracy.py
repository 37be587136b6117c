"""Tokens are counted by what their patches show: with stubs whose right tokens, and whose jitter, are known."""

from types import SimpleNamespace

import pytest
import torch

from genie.evaluation.tokens import after_true_past
from genie.metrics.token_accuracy import STILL, TokenAccuracy, TokenJitter, showing
from genie.models import DynamicsModel
from genie.models.patches import Patches
from genie.stages.dynamics import teacher_forced

PATCHES = Patches((8, 8), 4)  # four patches
BACKGROUND = torch.full((3, 8, 8), 0.5)


def clip():
    """[1, 3, 3, 8, 8]: an object in patch 0 that moves within it and then goes to patch 3; nothing in 1 and 2."""
    frames = BACKGROUND.repeat(1, 3, 1, 1, 1)
    frames[0, 0, :, 0, 0] = frames[0, 1, :, 1, 1] = frames[0, 2, :, 6, 6] = 0.8
    return frames


def test_what_shows_something():
    assert showing(PATCHES, clip(), BACKGROUND)[0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    faint = BACKGROUND[None, None].clone()
    faint[..., 0, 0] += 0.09
    assert not showing(PATCHES, faint, BACKGROUND).any()


def test_only_tokens_that_flip_where_nothing_changes_are_jitter():
    tokens = torch.tensor([[[0, 7, 7, 7], [1, 7, 8, 7], [2, 7, 9, 6]]])  # patch 2 jitters both times; 0 and 3 move
    metric = TokenJitter()
    metric.update(tokens, clip(), BACKGROUND, PATCHES)
    # still: patches 1, 2, 3 and then 1, 2 (patch 0 loses the object, 3 gets it)
    assert metric.compute() == {"jitter": pytest.approx(2 / 5), "background_jitter": pytest.approx(2 / 5)}
    standing = clip()[:, [0, 0, 0]]  # the object stands: its token flips once more, and is no background
    metric.reset()
    metric.update(torch.tensor([[[0, 7, 7, 7], [1, 7, 8, 7], [1, 7, 9, 7]]]), standing, BACKGROUND, PATCHES)
    assert metric.compute() == {"jitter": pytest.approx(3 / 8), "background_jitter": pytest.approx(2 / 6)}


@pytest.mark.parametrize(("levels", "still"), [(1, True), (2, False)])
def test_one_level_of_a_pixel_is_no_change(levels, still):
    frames = BACKGROUND.repeat(1, 2, 1, 1, 1)
    frames[0, 1, 0, 0, 0] += levels / 255
    assert bool(PATCHES.still(frames, STILL)[0, 0, 0]) is still
    metric = TokenJitter()
    metric.update(torch.tensor([[[0, 0, 0, 0], [1, 0, 0, 0]]]), frames, BACKGROUND, PATCHES)
    assert metric.compute()["jitter"] == pytest.approx(1 / 4 if still else 0)


def test_every_kind_counts_its_own_tokens():
    tokens, before = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 9, 9]])
    shown = torch.tensor([[False, True, True, False]])
    right, nats = torch.tensor([[True, False, True, False]]), torch.tensor([[0.25, 0.5, 1.0, 4.0]])
    metric = TokenAccuracy()
    metric.update(nats, right, tokens, before, shown)
    metric.update(nats, right, tokens, before, shown)
    assert metric.compute() == {
        "token_accuracy": 0.5, "token_accuracy_copy_last": 0.5, "token_cross_entropy": 5.75 / 4,
        "object_token_accuracy": 0.5, "object_token_accuracy_copy_last": 0.5, "object_token_cross_entropy": 0.75,
        "share_object_tokens": 0.5,
        "changed_token_accuracy": 0.5, "changed_token_accuracy_copy_last": 0, "changed_token_cross_entropy": 2.5,
        "share_changed_tokens": 0.5,
    }  # fmt: skip


def test_a_kind_without_tokens_has_no_figures():
    metric, nothing = TokenAccuracy(), torch.zeros(1, 4, dtype=torch.bool)
    metric.update(torch.ones(1, 4), ~nothing, torch.ones(1, 4).long(), torch.ones(1, 4).long(), nothing)
    assert set(metric.compute()) == {"token_accuracy", "token_accuracy_copy_last", "token_cross_entropy"}


@pytest.mark.parametrize("conditioning", ["additive", "prepend", "film"])
def test_every_frame_is_guessed_after_a_true_past_and_without_a_look_at_itself(conditioning):
    """It is what one asks when that frame alone is hidden in a clip that ends with it."""
    model = DynamicsModel(16, (2, 3), 3, 32, 2, 2, conditioning=conditioning).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    tokens, actions = torch.randint(16, (2, 5, 6)), torch.randint(3, (2, 4))
    nats, right = after_true_past(model, tokens, actions)
    assert nats.shape == right.shape == (2, 4, 6)
    for last in range(1, 5):
        expected = teacher_forced(model, tokens[:, : last + 1], actions[:, :last])
        torch.testing.assert_close(nats[:, last - 1], expected[0], atol=1e-4, rtol=1e-4)
        assert torch.equal(right[:, last - 1], expected[1])


class Rule(SimpleNamespace):
    """A dynamics that knows the rule of a game: the next frame's tokens are those before it plus the action."""

    def score(self, tokens, actions, mask, target, context):
        guessed = torch.cat([context[:, :1], context[:, :-1] + actions[:, :, None]], 1)
        right = guessed == target
        return (~right).float()[mask], right[mask]


def test_a_world_that_knows_the_rule_has_all_tokens_right():
    actions = torch.randint(3, (2, 6))
    tokens = torch.cat([torch.randint(16, (2, 1, 4)), torch.zeros(2, 6, 4, dtype=torch.int64)], 1)
    for t in range(6):
        tokens[:, t + 1] = tokens[:, t] + actions[:, t, None]
    assert after_true_past(Rule(), tokens, actions)[1].all()
    assert not after_true_past(Rule(), tokens, (actions + 1) % 3)[1].any()
