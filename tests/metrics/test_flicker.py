"""Flicker, on changes that are known: noise, and jumps at one period."""

import math

import pytest
import torch

from genie.metrics.long_videos import PERIODS, change_spectrum, flicker, least_changes


def changes(count=1000, every=None, size=5.0):
    """Eight videos' changes: noise, with a jump each `every` frames."""
    noise = 10 + torch.randn(8, count)
    if every:
        noise[:, ::every] += size
    return list(noise)


def ratio(videos, period):
    return flicker(change_spectrum(videos, period))


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_a_jump_at_each_window_is_a_flicker_and_noise_is_none(period):
    assert 0.5 < ratio(changes(), period) < 1.7
    assert ratio(changes(every=period), period) > 20


def test_a_jump_at_another_period_is_none():
    videos = changes(every=5)
    assert ratio(videos, 5) > 20 and 0.5 < ratio(videos, 8) < 1.7 and 0.5 < ratio(videos, 4) < 1.7


def test_how_much_changes_plays_no_part():
    videos = changes(every=4)
    assert ratio([30 + 100 * one for one in videos], 4) == pytest.approx(ratio(videos, 4), rel=1e-6)


def test_a_slow_trend_is_none():
    assert 0.5 < ratio([one + torch.linspace(0, 50, 1000) for one in changes()], 4) < 1.7


def test_videos_that_are_too_short_are_not_counted():
    long = changes(every=4)
    assert ratio([*long, torch.rand(least_changes(4) - 1)], 4) == ratio(long, 4)
    with pytest.raises(ValueError, match=f"longer than {4 * PERIODS} frames"):
        change_spectrum([torch.rand(4 * PERIODS - 1)], 4)


def test_nothing_that_changes_has_no_ratio():
    assert math.isnan(ratio([torch.ones(200)], 4))
