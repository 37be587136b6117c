"""Rare things are drawn often, and everything counts once."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_modules.clips import ClipDataset
from data_modules.rare_clips import RareClips

EPISODES = np.array([[0, 30], [30, 37], [37, 40], [40, 80]])  # the third is shorter than a clip
REWARDED, TERMINAL = (12, 55), (28, 35)  # rows; what is rare in the third episode is in no clip


class Reader:
    """Frames that show their row, a reward and an end at a few of them."""

    path, columns, num_frames, episodes = "rows", ["rewards", "terminals"], 80, EPISODES
    recordings, image_size = np.arange(4), (1, 1)

    def frames(self, start, stop, step=1):
        return np.arange(start, stop, step, dtype=np.uint8)[:, None, None, None].repeat(3, 3)

    def column(self, name, start, stop):
        rows = np.arange(start, stop)
        if name == "rewards":
            return np.where(np.isin(rows, (*REWARDED, 38)), -2.0, 0.0).astype(np.float32)
        return np.isin(rows, TERMINAL)


@pytest.fixture(params=[1, 2], ids=["stride 1", "stride 2"])
def clips(request):
    return ClipDataset(Reader(), EPISODES, num_frames=4, stride=request.param, fps=10.0, seed=3)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weighted_draws_count_every_transition_once(clips, share):
    rare = RareClips(clips, share)
    counts, sums, weighted = np.zeros(80), np.zeros(80), 0.0
    total = 60 * len(clips)
    for number in range(total):  # as training draws them: in every epoch each clip once
        epoch, index = divmod(number, len(clips))
        start, _ = rare.start(epoch, index) or clips.location(index)
        weights, whole = rare.of(start)
        rows = start + np.arange(3) * clips.stride
        counts[rows] += 1
        sums[rows] += weights[:-1]
        weighted += whole
    seen = counts > 0
    expected = 3 * total / seen.sum()  # as often as any other
    assert sums[seen] == pytest.approx(np.full(seen.sum(), expected), rel=0.5)
    assert sums[seen].mean() == pytest.approx(expected, rel=0.02)
    assert weighted / total == pytest.approx(1, rel=0.1)
    covered = [row for row in (*REWARDED, *TERMINAL) if seen[row]]
    rest = np.setdiff1d(np.flatnonzero(seen), covered)
    assert len(covered) == 4 if clips.stride == 1 else len(covered) >= 2
    assert (counts[covered].mean() > 1.5 * counts[rest].mean()) == (share > 0)


def test_the_draws_depend_on_epoch_and_index_alone(clips):
    clips.rare = RareClips(clips, 0.5)
    other = ClipDataset(Reader(), EPISODES, 4, clips.stride, 10.0, seed=3)
    other.rare = RareClips(other, 0.5)
    for key in [(5, 7), (0, 1), (5, 7)]:
        assert clips[key]["frames"].equal(other[key]["frames"])
    clip = clips[4, 2]
    weights, whole = clips.rare.of(int(clip["frames"][0, 0, 0, 0]))
    assert clip["weights"].tolist() == weights.tolist() and clip["weights"][-1] == 0 < clip["clip_weight"] == whole
    starts = [int(clips[epoch, 7]["frames"][0, 0, 0, 0]) for epoch in range(30)]
    itself = clips.location(7)[0]
    assert 5 < sum(start == itself for start in starts) < 25  # the others are drawn around something rare


def test_without_anything_rare_clips_are_drawn_evenly(clips):
    clips.reader = SimpleNamespace(columns=[], num_frames=80)
    rare = RareClips(clips, 0.5)
    assert rare.share == 0 and all(rare.start(0, index) is None for index in range(len(clips)))
    with pytest.raises(ValueError, match="not in"):
        RareClips(clips, 1.0)


def test_the_last_clip_of_an_episode_reaches_its_end():
    def starts(tails):
        clips = ClipDataset(Reader(), EPISODES, 4, 1, 10.0, seed=3, max_clips=100, tails=tails)
        return [clips.location(index) for index in range(len(clips))]

    plain, tailed = starts(False), starts(True)
    assert [start for start, end in plain if end == 30] == [0, 4, 8, 12, 16, 20, 24]
    assert [start for start, end in tailed if end == 30] == [0, 4, 8, 12, 16, 20, 24, 26]
    assert [start for start, end in tailed if end == 37] == [30, 33]
    assert [start for start, end in tailed if end == 80] == [start for start, end in plain if end == 80]
