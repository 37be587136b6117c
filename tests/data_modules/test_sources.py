"""Which files are which split, and several files read as one."""

import numpy as np
import pytest

from data_modules.formats.episode_reader import EpisodeReader
from data_modules.frame_reader import JoinedReaders, Reading
from data_modules.sources import EpisodeFiles, open_splits, split_episodes
from genie.common.errors import UserError


def splits(root):
    return open_splits(
        EpisodeFiles(Reading((8, 8), "squeeze", None, False, "skip")), root, holdout=0.1, gap=4, advice=""
    )


@pytest.fixture
def joined(tmp_path, write_episodes):
    """A reader of the episodes of 5 + 9, 7 and 4 frames in three files, and the same in one."""
    lengths = [[5, 9], [7], [4]]
    paths = [write_episodes(tmp_path / f"{n}.h5", part, first=n * 20) for n, part in enumerate(lengths)]
    return JoinedReaders(tmp_path, [EpisodeReader(path, (8, 8)) for path in paths])


def test_rows_are_counted_through(joined):
    assert joined.num_frames == 25
    assert joined.episodes.tolist() == [[0, 5], [5, 14], [14, 21], [21, 25]]
    assert joined.recordings.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("start", "stop", "step"), [(6, 12, 2), (14, 21, 1), (0, 25, 1), (3, 25, 4), (13, 22, 9)])
def test_rows_of_several_files_are_those_of_each(joined, start, stop, step):
    all_frames = np.concatenate([reader.frames(0, reader.num_frames) for reader in joined.readers])
    all_actions = np.concatenate([reader.column("actions", 0, reader.num_frames) for reader in joined.readers])
    np.testing.assert_array_equal(joined.frames(start, stop, step), all_frames[start:stop:step])
    np.testing.assert_array_equal(joined.column("actions", start, stop), all_actions[start:stop])


def test_a_folder_for_each_split_may_hold_many_files(tmp_path, write_episodes):
    for name in ("train/b/1.h5", "train/a.hdf5", "train/.hidden/2.h5", "val/1.h5"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_episodes(path, [6])
    found = splits(tmp_path)
    assert {split: reader.num_frames for split, (reader, _) in found.items()} == {"train": 12, "val": 6}
    assert [reader.path.name for reader in found["train"][0].readers] == ["a.hdf5", "1.h5"]


def test_files_without_splits_are_split_as_one(tmp_path, write_episodes):
    for number in range(5):
        write_episodes(tmp_path / f"part{number}.h5", [6, 6])
    found = splits(tmp_path)
    assert {split: len(episodes) for split, (_, episodes) in found.items()} == {"train": 8, "val": 1, "test": 1}
    assert found["train"][0] is found["val"][0]


def test_a_file_with_several_names_is_read_once_and_a_link_to_nothing_is_said(tmp_path, write_episodes, capsys):
    for number in range(3):
        write_episodes(tmp_path / f"{number}.h5", [6])
    (tmp_path / "again.h5").symlink_to("0.h5")
    (tmp_path / "0_again.h5").hardlink_to(tmp_path / "0.h5")
    (tmp_path / "gone.h5").symlink_to("nowhere.h5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "around").symlink_to(".")
    found = splits(tmp_path)
    assert [reader.path.name for reader in found["train"][0].readers] == ["0.h5", "1.h5", "2.h5"]
    said = capsys.readouterr().err
    assert "gone.h5: No such file" in said and "1 of 4 episode files cannot be read and are left out" in said


def test_scenes_of_one_video_stay_together():
    episodes = np.arange(12)[:, None] * 10 + [0, 10]
    recordings = np.array([0, 0, 0, 2, 2, 3, 3, 3, 3, 4, 4, 4])
    parts = split_episodes(episodes, recordings, holdout=0.25, gap=5)
    assert [len(part) for part in parts.values()] == [5, 4, 3]
    assert parts["val"][0, 0] == 50


def test_files_of_two_kinds_are_one_line(tmp_path, write_episodes):
    write_episodes(tmp_path / "1.h5", [6])
    write_episodes(tmp_path / "2.h5", [6], only_frames=True)
    with pytest.raises(UserError, match=r"1.h5 has columns \['actions'.*2.h5 has \[\]: they cannot be trained on"):
        splits(tmp_path)


def test_the_video_of_a_moment_is_not_held_out():
    ends = np.cumsum([300, 300, 300, 300, 300, 7, 300])
    episodes = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    parts = split_episodes(episodes, np.arange(7), holdout=0.1, gap=16)
    assert [part.tolist() for part in (parts["val"], parts["test"])] == [episodes[4:5].tolist(), episodes[6:7].tolist()]
    assert parts["train"].tolist() == episodes[[0, 1, 2, 3, 5]].tolist()
    # beside a long one it may be, and where there are no others it has to be
    whole = split_episodes(episodes, np.arange(7), holdout=0.3, gap=16)
    assert whole["val"].tolist() == episodes[3:5].tolist() and whole["test"].tolist() == episodes[5:7].tolist()
    short = split_episodes(episodes[3:6], np.arange(3), holdout=0.1, gap=16)
    assert short["val"].tolist() == episodes[4:5].tolist() and short["test"].tolist() == episodes[5:6].tolist()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    (tmp_path / "recordings").mkdir()
    with pytest.raises(UserError, match=r"recording: there is no such file or folder; did you mean .*/recordings\?"):
        splits(tmp_path / "recording")
    with pytest.raises(
        UserError, match=r"other: there is no such file or folder: episode files \(.h5, .hdf5\) are needed"
    ):
        splits(tmp_path / "other")
