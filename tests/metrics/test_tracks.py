"""Objects in long videos, on places that are known: shares, speeds, points, and what points have to do with rewards."""

import math

import pytest
import torch

from genie.metrics.long_videos import Track, agreement, ks_distance, points, shares, shares_by_quarter, speeds

FIELD = 2.0, 62.0


def track(x, y=None, more=()):
    """One object at the places `x`, None where it is absent; twice in the frames `more`."""
    counts = torch.tensor([[int(place is not None)] for place in x])
    counts[list(more)] = 2
    where = torch.tensor([[[math.nan if place is None else place, 5.0]] for place in x])
    return Track(counts, where.where((counts == 1)[..., None], torch.nan))


def bouncing(count, speed):
    """A ball that goes to and fro between 10 and 50."""
    way = (torch.arange(count) * speed) % 80
    return track((10 + 40 - (way - 40).abs()).tolist())


def test_shares_count_frames_of_all_videos_and_their_quarters():
    videos = [track([1, 2, None, None, 5, 6, 7, None], more=[4]), track([None] * 4 + [1] * 4)]
    assert shares(videos).tolist() == [9 / 16] and shares(videos, 2).tolist() == [1 / 16]
    assert shares_by_quarter(videos)[:, 0].tolist() == [0.5, 0, 1, 0.75]
    assert shares_by_quarter(videos, 2)[:, 0].tolist() == [0, 0, 0.25, 0]


def test_speeds_are_of_frames_that_have_the_object_exactly_once():
    assert speeds([track([1, 3, None, 9, 10, 14, 15], more=[4])], 0).tolist() == [2, 1]
    assert speeds([track([0, 4]), track([50, 51])], 0).tolist() == [4, 1]  # nothing moves from one video to the next


def test_the_same_speed_has_distance_0_and_half_of_it_distance_1():
    real = speeds([bouncing(200, 4.0)], 0)
    assert ks_distance(real, speeds([bouncing(80, 4.0)], 0)) == 0
    assert ks_distance(real, speeds([bouncing(200, 2.0)], 0)) == 1
    half = torch.cat([real, real / 2])  # half of the moves are half as fast
    assert ks_distance(real, half) == ks_distance(half, real) == pytest.approx(0.5)
    assert math.isnan(ks_distance(real, real[:0]))


def test_the_distance_is_that_of_the_distribution_functions():
    assert ks_distance(torch.tensor([1.0, 2, 3, 4]), torch.tensor([3.0, 4, 5, 6])) == pytest.approx(0.5)
    assert ks_distance(torch.tensor([0.0, 1, 2]), torch.tensor([0.5])) == pytest.approx(2 / 3)


def test_points_are_counted_where_the_ball_leaves_at_a_side():
    out = [None] * 4
    video = track([50, 55, 60, *out, 30, 20, 10, 4, *out, 30, 34, 38, *out, 58, None, 61, *out, 61, None])
    found = points(video, 0, FIELD)
    # at the right, at the left, not where it vanishes in the middle, nor for a frame (behind a paddle), nor at the end
    assert torch.nonzero(found)[:, 0].tolist() == [2, 10, 24] and found[[2, 10, 24]].tolist() == [1, -1, 1]


def test_a_ball_that_is_drawn_twice_or_stays_away_too_shortly_makes_no_point():
    assert not points(track([56, 60, None, None, 30, 20]), 0, FIELD).any()
    assert not points(track([56, 60, *[None] * 5], more=[1]), 0, FIELD).any()
    assert not points(track([60, None]), 0, FIELD).any()


def test_points_and_rewards_agree_where_they_are_near():
    found, rewards = torch.zeros(40, dtype=torch.int64), torch.zeros(40)
    found[[5, 20]], rewards[[6, 35]] = 1, torch.tensor([-1.0, 1.0])
    assert agreement(found, rewards) == (2, 1, 2, 1)
    assert agreement(found, torch.zeros(40)) == (0, 0, 2, 0) and agreement(found * 0, rewards) == (2, 0, 0, 0)
