"""Which frames are held out; and that a split without a clip is told with values with which there are some."""

import re

import pytest

from data_modules.clip_data_module import ClipDataModule
from genie.common.errors import UserError

TYPES = {"num_frames": int, "stride": int, "batch_size": int, "holdout": float}


def module(root, **changes):
    settings = {"image_size": (8, 8), "num_frames": 16, "batch_size": 16, "fps": 10} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def advised(root, **changes):
    """The line, and the data set with the values that it gives."""
    with pytest.raises(UserError) as raised:
        module(root, **changes)
    line = str(raised.value)
    assert "\n" not in line
    given = dict(re.findall(r"data\.(\w+)=([\d.]+)", line.rpartition(": give ")[2]))
    assert given, line
    return line, module(root, **changes | {key: TYPES[key](value) for key, value in given.items()})


@pytest.mark.parametrize("lengths", [[60], [100], [200], [15, 15], [20, 20], [10] * 3, [60, 60, 5], [5] * 40])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_values_that_are_proposed_give_clips(tmp_path, write_episodes, lengths, stride):
    path = write_episodes(tmp_path / "a.h5", lengths, only_frames=len(lengths) == 1)
    line, data = advised(path, stride=stride)
    assert re.match(r"no clip for (train|val|test) in .*a.h5 at [\d.]+ frames a second: 16 frames at stride", line)
    assert ("data.holdout=0.1 cuts" in line) == (len(lengths) < 3)
    assert all(len(dataset) for dataset in data.datasets.values())
    assert len(data.train_dataset) >= data.batch_size


def test_one_video_is_told_of_the_share_that_is_held_out(tmp_path, write_video, number_frames):
    path = write_video(tmp_path / "1.mp4", number_frames(60), fps=10)
    videos = {"decoder": "auto", "cuts": "none", "cut_threshold": 0.15}
    line, data = advised(path, source="videos", videos=videos)
    assert "no clip for val" in line and "train 32, val 0, test 6: give data.num_frames=7 data.holdout=0.23" in line
    assert line.endswith("or 3 recordings, which are not cut")
    assert data.num_frames == 7
    assert advised(path, source="videos", videos=videos, num_frames=10, batch_size=1)[1].num_frames == 10


def test_files_for_each_split_have_nothing_to_do_with_the_share(tmp_path, write_episodes):
    for split, length in (("train", 60), ("val", 10)):
        write_episodes(tmp_path / f"{split}.h5", [length])
    line, data = advised(tmp_path)
    assert "no clip for val in" in line and "its longest episode has 10: give data.num_frames=10, or" in line
    assert "holdout" not in line and len(data.val_dataset) == 1


def test_too_little_for_any_clip_is_said(tmp_path, write_episodes):
    with pytest.raises(UserError, match="too little for clips of two: give 3 recordings"):
        module(write_episodes(tmp_path / "one.h5", [4], only_frames=True))
    with pytest.raises(UserError, match="its longest episode has 1 .* too little for clips of two"):
        module(write_episodes(tmp_path / "many.h5", [1] * 40), num_frames=2)


def test_clips_of_another_length_are_not_a_matter_of_num_frames(tmp_path, write_episodes):
    data = module(write_episodes(tmp_path / "a.h5", [60] * 5))
    with pytest.raises(UserError, match="span 61, and its longest episode has 60$"):
        data.clips("val", 61, None)
