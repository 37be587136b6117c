"""Intervals against numbers that are known, and against how often they are right."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from genie.agents.statistics import difference_of, mean_of, share_of


def test_a_mean_by_student():
    """The textbook's t of 4 degrees of freedom is 2.776."""
    found = mean_of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3 and found.std_error == pytest.approx(0.7071, abs=1e-4)
    assert found.high - 3 == pytest.approx(2.776 * 0.7071, abs=1e-3) == 3 - found.low


def test_an_interval_is_right_95_times_of_100():
    draws = np.random.default_rng(0).exponential(size=(2000, 30)) - 1
    right = np.mean([found.low <= 0 <= found.high for found in map(mean_of, draws.tolist())])
    assert 0.91 < right < 0.97


def test_a_share_by_wilson():
    """8 of 10: 0.4902 … 0.9433 (Newcombe 1998's method 3)."""
    found = share_of([True] * 8 + [False] * 2)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert share_of([True] * 5).low < 0.6 and share_of([True] * 5).high == 1


def test_a_difference_by_welch():
    one, two = [1.0, 2.0, 4.0, 7.0, 9.0], [0.0, 0.5, 0.25]
    expected = ttest_ind(one, two, equal_var=False)
    found, interval = difference_of(one, two), expected.confidence_interval(0.95)
    assert found.mean / found.std_error == pytest.approx(expected.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_too_few_values_have_no_interval():
    assert np.isnan(mean_of([1.0]).low) and np.isnan(mean_of([]).mean)
    assert np.isnan(difference_of([1.0], [2.0, 3.0]).low)
    assert difference_of([1.0, 1.0], [0.0, 0.0]).low == 1
