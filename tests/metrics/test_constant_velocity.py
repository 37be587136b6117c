"""The tracker goes on straight, is reflected where things turn round, and learns by itself where that is."""

import math

import pytest
import torch

from genie.metrics.objects import ConstantVelocity

NOWHERE = (math.nan, math.nan)


def fold(place, low, high):
    """Where a ball is that would be at `place` if there were no walls at `low` and `high`."""
    ahead = (place - low) % (2 * (high - low))
    return low + min(ahead, 2 * (high - low) - ahead)


def game(x, y, dx, dy, length=40, walls=((0.0, 60.0), (3.0, 50.0))):
    """[1, T, 1, 2]: a ball that walls reflect."""
    path = [(fold(x + t * dx, *walls[0]), fold(y + t * dy, *walls[1])) for t in range(length)]
    return torch.tensor(path)[None, :, None]


GAMES = torch.cat([game(11.0, 20.0, 2.4, 4.8), game(33.0, 7.0, -2.4, 3.1), game(50.0, 30.0, 1.3, -2.4)])


def test_it_foresees_a_ball_between_walls_that_it_was_never_told():
    tracker = ConstantVelocity(GAMES)
    assert tracker.turns_low[0].tolist() == pytest.approx([0, 3], abs=1e-3)
    assert tracker.turns_high[0].tolist() == pytest.approx([60, 50], abs=1e-3)
    foreseen = tracker(GAMES[:, :4], 36)
    straight = GAMES[:, 3:4] + torch.arange(1, 37)[None, :, None, None] * (GAMES[:, 3:4] - GAMES[:, 2:3])
    assert (straight - GAMES[:, 4:]).abs().max() > 40  # without its reflections it is far away
    assert torch.allclose(foreseen, GAMES[:, 4:], atol=1e-2)
    assert tracker.low[0, 1] > 3.01  # no frame shows the ball at the wall itself


@pytest.mark.parametrize(("misses", "reflects"), [(2, True), (9, False)])
def test_a_paddle_reflects_if_it_hits_more_than_it_misses(misses, reflects):
    """Four hits of a paddle at 52, which a ball passes that it misses, to be gone at 60."""
    hits = [game(20.0 + n, 9.0, 2.4, 1.7, 24, ((0.0, 52.0), (3.0, 50.0))) for n in range(4)]
    passing = game(24.0, 9.0, 2.4, 1.7, 24, ((0.0, 500.0), (3.0, 50.0)))
    passing[:, :, 0][passing[:, :, 0, 0] > 60] = math.nan
    tracker = ConstantVelocity(torch.cat([*hits, *[passing] * misses]))
    limit = tracker.turns_high[0, 0].item()
    assert limit == pytest.approx(52 if reflects else passing[..., 0].nan_to_num(0).max().item(), abs=1e-3)
    behind = torch.tensor([[[[53.0, 20.0]], [[55.0, 20.0]]]])  # it is past the paddle: that does not turn it any more
    assert tracker(behind, 2)[0, :, 0, 0].tolist() == pytest.approx([57, 59])


def test_what_turns_anywhere_is_reflected_at_the_ends_of_its_region():
    walk = torch.randint(-6, 7, (20, 30)).cumsum(1).clamp(-25, 25).float() + 30
    objects = torch.stack([torch.full_like(walk, 56.0), walk], dim=-1)[:, :, None]
    tracker = ConstantVelocity(objects)
    assert tracker.turns_high[0].tolist() == [56.0, walk.max().item()]
    assert tracker.turns_low[0].tolist() == [56.0, walk.min().item()]
    assert (tracker(objects[:, :2], 10)[..., 0] == 56).all()


def test_what_is_not_given_twice_is_not_foreseen():
    tracker, given = ConstantVelocity(GAMES), GAMES[:, :4].clone()
    given[0, 3], given[1, 2] = math.nan, math.nan
    foreseen = tracker(given, 5)
    assert foreseen[:2].isnan().all() and foreseen[2].isfinite().all()
    assert torch.equal(tracker(GAMES[:, 3:4], 5), GAMES[:, 3:4].expand(-1, 5, -1, -1))  # one given frame: it stands
