import numpy as np

from genie.labeling.windows import WindowedData, cut


def test_every_row_is_in_one_window_and_none_crosses_an_episode(footage):
    assert [(w.first, w.stop) for w in footage.windows] == [(row, row + 16) for row in range(0, 48 * 32, 16)]
    assert {w.part for w in footage.windows} == {"all"}
    assert [footage.recordings[w] for w in footage.windows[:3]] == [("all", 0), ("all", 0), ("all", 1)]


def test_lengths_are_nearly_the_same():
    for length in range(1, 200):
        windows = cut("train", 1000, 1000 + length, 16)
        bounds = [windows[0].first, *(window.stop for window in windows)]
        assert bounds[0] == 1000 and bounds[-1] == 1000 + length
        sizes = np.diff(bounds)
        assert sizes.max() - sizes.min() <= 1 and (length < 16 or 11 <= sizes.min() <= sizes.max() <= 23)


def test_files_of_a_split_each_are_parts(pong_root, curate_config):
    footage = WindowedData(curate_config(pong_root).data.plain())
    assert {window.part for window in footage.windows} == {"train", "val", "test"} == set(footage.data)
    assert sum(w.stop - w.first for w in footage.windows) == sum(r.num_frames for r in footage.readers.values())
    assert footage.folder == pong_root / "curation"
