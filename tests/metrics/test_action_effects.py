"""What each action changes in the picture."""

import pytest
import torch

from genie.metrics.actions import ActionEffects


def test_changes_are_counted_for_the_action_that_led_to_them(make_clips):
    clips = make_clips(batch=6, frames=9)
    frames, actions = clips["frames"] / 255, clips["actions"][:, :-1]
    metric = ActionEffects(4, (3, 16, 16))
    for part in (slice(0, 2), slice(2, 6)):
        metric.update(frames[part], actions[part])
    effects = metric.compute()
    for action in range(3):
        pairs = [(frames[b, t], frames[b, t + 1]) for b in range(6) for t in range(8) if int(actions[b, t]) == action]
        assert effects["transitions"][action] == len(pairs)
        changes = torch.stack([after - before for before, after in pairs])
        assert torch.allclose(effects["signed"][action], changes.mean(0), atol=1e-6)
        assert torch.allclose(effects["absolute"][action], changes.abs().mean(0), atol=1e-6)
    assert effects["absolute"][0].max() == 0 and effects["absolute"][1].max() > 0.05  # action 0 stands still
    assert effects["signed"][3].isnan().all() and effects["transitions"][3] == 0


def test_opposite_changes_cancel_only_with_their_sign():
    frames = torch.tensor([0.2, 0.7, 0.2])[None, :, None, None, None].expand(1, 3, 1, 2, 2)
    metric = ActionEffects(1, (1, 2, 2))
    metric.update(frames, torch.zeros(1, 2, dtype=torch.int64))
    assert metric.compute()["signed"].abs().max() < 1e-6
    assert metric.compute()["absolute"].mean() == pytest.approx(0.5)


def test_autocast_around_it_changes_nothing(make_clips):
    frames, actions = torch.rand(4, 5, 3, 16, 16), make_clips(4, 5)["actions"][:, :-1]
    usual, around = ActionEffects(3, (3, 16, 16)), ActionEffects(3, (3, 16, 16))
    usual.update(frames, actions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around.update(frames, actions)
    for name, value in usual.compute().items():
        assert torch.equal(value, around.compute()[name]), name
