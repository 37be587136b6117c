"""What is written is what is read, whatever columns there are."""

import h5py
import numpy as np
import pytest

from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.episodes import EpisodeWriter
from data_modules.frame_reader import Reading
from data_modules.sources import EpisodeFiles, open_splits
from genie.common.errors import UserError


def frames(count, first=0):
    return np.broadcast_to(np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3))


def test_a_file_of_frames_alone_says_nothing_that_is_not_known(tmp_path):
    with EpisodeWriter(tmp_path / "a.h5", (4, 4), None, None, None, [], columns=()) as writer:
        for _ in range(2):
            writer.append(frames=frames(5, writer.num_frames))
            writer.end_episode()
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"frames", "episode_ends"} and set(file.attrs) == {"format_version"}
    reader = EpisodeReader(tmp_path / "a.h5", (4, 4))
    assert (reader.columns, reader.fps, reader.action_meanings, reader.object_names) == ([], None, None, [])
    assert reader.frames(0, 10)[:, 0, 0, 0].tolist() == list(range(10))


def test_scenes_of_one_recording_are_on_one_side_of_a_split(tmp_path):
    recordings = [0, 0, 0, 4, 4, 5, 9, 9, 9, 9]
    with EpisodeWriter(tmp_path / "a.h5", (4, 4), None, 10, None, [], columns=()) as writer:
        for recording in recordings:
            writer.append(frames=frames(3))
            writer.end_episode(recording)
    splits = open_splits(
        EpisodeFiles(Reading((4, 4), "squeeze", None, False, "skip")), tmp_path / "a.h5", holdout=0.25, gap=1, advice=""
    )
    assert {split: len(episodes) for split, (_, episodes) in splits.items()} == {"train": 5, "val": 1, "test": 4}


@pytest.mark.parametrize("wrong", [[0, 2, 1], [0, 1], [0.0, 1.0, 2.0]])
def test_recordings_that_fit_no_episodes_are_named(tmp_path, write_episodes, wrong):
    path = write_episodes(tmp_path / "a.h5", [4, 4, 4])
    with h5py.File(path, "a") as file:
        file["recordings"] = wrong
    with pytest.raises(UserError, match="recordings in .*a.h5 are not 3 whole numbers in order"):
        EpisodeReader(path, (8, 8))
