import numpy as np

from genie.labeling.curate import candidates, even_spread, rating_order


def test_every_window_comes_once():
    signals = np.random.default_rng(0).normal(size=(101, 6))
    assert sorted(rating_order(signals)) == list(range(101)) == sorted(even_spread(101))
    assert rating_order(np.zeros((1, 6))) == [0] and rating_order(np.zeros((3, 6)))[0] == 0


def test_what_is_rare_is_seen_early_and_what_is_common_is_not_forgotten():
    signals = np.random.default_rng(0).normal(size=(300, 4))
    rare = [50, 151, 152]
    signals[rare] += [[0, 0, 0, 50], [60, -50, 0, 0], [60, -50, 0, 0]]
    order = rating_order(signals)
    assert {50, 151} < set(order[:40])
    assert not {50, 151} <= set(even_spread(300)[:40])
    # whatever the units
    assert rating_order(signals * [1, 1e6, 1e-6, 5]) == order
    halves = np.array(order[:50]) < 150
    assert 15 <= halves.sum() <= 35


def test_beginnings_are_spread_evenly():
    for count in (16, 100, 300):
        for beginning in (4, 8, 16):
            places = np.sort(even_spread(count)[:beginning])
            assert np.diff([*places, count]).max() <= 2.6 * count / beginning


def test_candidates():
    assert candidates(5, 10) == [0, 1, 2, 3, 4] and candidates(10, 5) == [0, 2, 4, 6, 8]
