"""Pairs of segments, what was said of them, and what a model is trained on."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_modules.annotations import origin_of
from genie.common.errors import UserError
from genie.labeling.preference_pairs import RatedPairs
from genie.labeling.rate import SegmentPair, choose_pairs

WORLD = SimpleNamespace(
    takes_environment_actions=False,
    device=torch.device("cpu"),
    trace=lambda frames, actions: frames.mean((2, 3, 4))[..., None],  # how bright each frame is
)


def brightness(readers, window):
    return readers[window.part].frames(window.first + 1, window.stop).mean()


def better(readers, pair):
    return "this" if brightness(readers, pair.this) > brightness(readers, pair.other) else "other"


def test_no_segment_is_in_two_pairs_or_across_an_end(readers, pairs):
    windows = [window for pair in pairs for window in (pair.this, pair.other)]
    assert len(pairs) == 30 and len(set(windows)) == 60
    for window in windows:
        assert window.stop - window.first == 8
        assert any(first <= window.first and window.stop <= end for first, end in readers["train"].episodes)
    assert pairs == choose_pairs(readers["train"], "train", 8, 30, seed=0)
    assert pairs != choose_pairs(readers["train"], "train", 8, 30, seed=1)
    with pytest.raises(UserError, match="0 segments of 1000 frames"):
        choose_pairs(readers["train"], "train", 1000, 30, 0)


def test_what_is_said_is_on_disk_at_once(preferences, pairs):
    one = preferences()
    for pair, said in zip(pairs, ("this", None, "equal"), strict=False):
        one.give(pair, said)
    again = preferences()
    assert again.values == {pairs[0]: "this", pairs[1]: None, pairs[2]: "equal"} and len(again.given) == 2
    again.undo()
    assert list(preferences().values) == pairs[:2]


def test_files_that_are_no_ratings_are_one_line(preferences, pairs, readers):
    one = preferences()
    one.give(pairs[0], "this")
    text = one.path.read_text()
    for old, new, words in [
        (",this", ",best", "says 'best' of train"),
        (f",{pairs[0].other.stop},", f",{pairs[0].other.stop + 1},", "equally long"),
        (f",{pairs[0].other.first},", ",x,", "without another segment"),
        ("\ntrain,", "\nnowhere,", "not in the data"),
        ("better", "worse", "has no column better"),
    ]:
        assert old in text
        one.path.write_text(text.replace(old, new))
        with pytest.raises(UserError, match=words) as error:
            preferences()
        assert "\n" not in str(error.value) and "genie.curate" not in str(error.value)
    one.path.write_text(text)
    origin = origin_of(one.path)
    origin.write_text(origin.read_text().replace('"rows": 6', '"rows": 7'))
    with pytest.raises(UserError, match="is of 7.*genie.rate"):
        preferences()


@pytest.fixture
def rated(preferences, pairs, readers, data):
    """The pairs, of which the brighter segments are better and two are equal."""
    one = preferences()
    for number, pair in enumerate(pairs):
        one.give(pair, "equal" if number in (3, 9) else better(readers, pair))
    return RatedPairs(str(one.path), data, seed=0)


def test_a_model_sees_the_segments_with_what_was_said(rated, readers, pairs):
    assert len(rated.pairs["held_out"]) == 6 and len(rated.pairs["train"]) == 24
    assert {pair for part in rated.pairs.values() for pair, _ in part} == set(pairs)
    first, second, labels = rated.draw(WORLD, torch.arange(40), training=True)
    assert first.shape == (40, 7, 1)  # of the states after the steps
    decided = labels != 0.5
    assert torch.equal((first.sum((1, 2)) > second.sum((1, 2)))[decided], (labels > 0.5)[decided])
    again = rated.draw(WORLD, torch.arange(40), training=True)
    assert torch.equal(first, again[0]) and len(first.flatten(1).unique(dim=0)) > 10
    held = {round(brightness(readers, pair.this) / 255, 5) for pair, _ in rated.pairs["held_out"]}
    drawn = rated.draw(WORLD, torch.arange(40), training=False)[0].mean((1, 2)).numpy()
    assert {float(np.round(value, 5)) for value in drawn.astype(np.float64)} <= {
        near for value in held for near in (value, round(value - 1e-5, 5), round(value + 1e-5, 5))
    }


def test_agreement_is_that_with_pairs_held_out(rated):
    figures = rated.agreement(WORLD, lambda features: features.sum((1, 2)))
    assert figures["rated_accuracy"] == 1 and 4 <= figures["rated_pairs"] <= 6
    assert rated.agreement(WORLD, lambda features: -features.sum((1, 2)))["rated_accuracy"] == 0


def test_too_few_or_none_is_one_line(preferences, pairs, data, tmp_path):
    one = preferences()
    for pair in pairs[:9]:
        one.give(pair, "this")
    one.give(pairs[9], None)
    with pytest.raises(UserError, match="which is better of 9 pairs: give 10 at least"):
        RatedPairs(str(one.path), data, 0)
    with pytest.raises(UserError, match="no reward.ratings=.*genie.rate. writes it"):
        RatedPairs(str(tmp_path / "none.csv"), data, 0)
    longer = [
        type(pair.this)(pair.this.part, 0, 9) if side == "this" else type(pair.this)("train", 9, 18)
        for pair in pairs[10:11]
        for side in ("this", "other")
    ]
    one.give(SegmentPair(*longer), "this")
    with pytest.raises(UserError, match="segments of 8 and 9 frames"):
        RatedPairs(str(one.path), data, 0)
