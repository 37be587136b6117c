"""The fit, and that what it says of ratings held out is what fits without them say."""

import numpy as np
import pytest

from genie.common.errors import UserError
from genie.labeling.quality_head import Head, agreement, fit_head


@pytest.fixture
def rated():
    """Two blocks of features of 40 windows, ratings that depend on one of each, and groups of four."""
    random = np.random.default_rng(0)
    blocks = [random.normal(size=(40, 3)) * [1, 100, 0.01] + 5, random.normal(size=(40, 60))]
    ratings = (
        (3 + 1.2 * (blocks[0][:, 0] - 5) + 0.4 * blocks[1][:, 7] + random.normal(size=40) * 0.2).clip(1, 5).round()
    )
    return blocks, ratings, [number // 4 for number in range(40)]


def test_held_out_is_what_a_fit_without_them_says(rated):
    blocks, ratings, groups = rated
    for members in (groups, list(range(40))):
        fit = fit_head(blocks, ratings, members, {})
        inputs = fit.head.scaled(np.concatenate(blocks, axis=1))
        for group in set(members):
            out = np.array(members) == group
            centre, mean = inputs[~out].mean(0), ratings[~out].mean()
            seen = inputs[~out] - centre
            weights = np.linalg.solve(seen.T @ seen + fit.penalty * np.eye(63), seen.T @ (ratings[~out] - mean))
            np.testing.assert_allclose(fit.held_out[out], (inputs[out] - centre) @ weights + mean, rtol=1e-6)


def test_it_learns_from_few_and_says_how_well(rated):
    blocks, ratings, groups = rated
    fit = fit_head(blocks, ratings, groups, {})
    error = np.square(fit.held_out - ratings).mean()
    assert error < 0.6 * ratings.var()
    random = np.random.default_rng(1)
    nothing = fit_head([random.normal(size=(40, 63))], ratings, groups, {})
    assert np.square(nothing.held_out - ratings).mean() > 0.8 * ratings.var()  # no pretence where there is nothing


def test_features_that_are_constant_tell_nothing_and_outliers_little(rated):
    blocks, ratings, groups = rated
    constant = np.full((40, 2), 7.0)
    plain, more = (fit_head(some, ratings, groups, {}) for some in (blocks, [*blocks, constant]))
    np.testing.assert_allclose(plain.held_out, more.held_out)
    new = np.concatenate([*blocks, constant + 1e6], axis=1)
    np.testing.assert_allclose(more.head(new), plain.head(np.concatenate(blocks, axis=1)))
    far = np.concatenate(blocks, axis=1)[:1] + 1e9
    assert np.abs(plain.head(far)).max() < 100


def test_a_head_is_read_as_it_was_written(rated, tmp_path):
    head = fit_head(*rated, {"features": "lite0", "picture_size": 64}).head
    head.save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    features = np.concatenate(rated[0], axis=1)
    np.testing.assert_array_equal(again(features), head(features))
    assert again.settings == head.settings
    (tmp_path / "text").write_text("hello")
    for name, match in (("text", "is no head of genie.curate"), ("none", "there is no head")):
        with pytest.raises(UserError, match=match) as raised:
            Head.load(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_agreement():
    quality, ratings = np.array([5, 4, 2, 3.5, 1]), np.array([5, 2, 4, 3, 1])
    found = agreement(quality, ratings, 3)
    assert (found.precision, found.recall, found.kept) == (2 / 3, 2 / 3, 3 / 5)
    assert np.isnan(agreement(quality, ratings, 6).precision)
