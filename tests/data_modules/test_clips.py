"""What a clip holds, on files in which every row says where it is from."""

import pickle
import tracemalloc

import h5py
import numpy as np
import pytest
import torch

from data_modules.clips import ClipDataset
from data_modules.formats.episode_reader import EpisodeReader
from genie.common.errors import UserError

LENGTHS = [20, 5, 9, 33, 2]


def clips(path, num_frames=6, stride=1, image_size=(8, 8), max_clips=None, in_memory=False):
    reader = EpisodeReader(path, image_size, in_memory)
    return ClipDataset(reader, reader.episodes, num_frames, stride, 15.0, 0, max_clips)


def rows(clip):
    return clip["frames"][:, 1, 0, 0].tolist()


@pytest.fixture
def path(tmp_path, write_episodes):
    return write_episodes(tmp_path / "data.h5", LENGTHS)


@pytest.mark.parametrize(("num_frames", "stride"), [(6, 1), (4, 3), (1, 1), (33, 1)])
def test_every_start_once_and_no_clip_leaves_its_episode(path, num_frames, stride):
    dataset = clips(path, num_frames, stride)
    span = (num_frames - 1) * stride + 1
    starts = []
    for clip in dataset:
        assert len(clip["frames"][:, 0].unique()) == 1  # the episode
        assert np.diff(rows(clip)).tolist() == [stride] * (num_frames - 1)
        starts.append(rows(clip)[0])
    ends = np.cumsum(LENGTHS)
    possible = [t for end, n in zip(ends, LENGTHS, strict=True) for t in range(end - n, end - span + 1)]
    assert starts == possible


def test_all_columns_are_of_the_frames_rows(path):
    for clip in clips(path):
        n = torch.tensor(rows(clip))
        assert torch.equal(clip["actions"], n) and clip["actions"].dtype == torch.int64
        assert torch.equal(clip["rewards"], n.float()) and clip["rewards"].dtype == torch.float32
        assert torch.equal(clip["objects"][:, 0, 1], n.float())
        assert clip["terminals"].dtype == torch.bool
        assert [row for row, end in zip(rows(clip), clip["terminals"], strict=True) if end] == [
            row for row in rows(clip) if row + 2 in np.cumsum(LENGTHS)
        ]


def test_a_stride_skips_frames_but_no_reward_and_no_terminal(path):
    dataset = clips(path, num_frames=4, stride=3)
    assert dataset[0]["fps"] == 5
    ends = np.cumsum(LENGTHS)
    for clip in dataset:
        end = ends[ends > rows(clip)[0]][0]
        stretches = [range(row, min(row + 3, end)) for row in rows(clip)]
        assert clip["actions"].tolist() == rows(clip)
        assert clip["rewards"].tolist() == [sum(stretch) for stretch in stretches]
        assert clip["terminals"].tolist() == [end - 2 in stretch for stretch in stretches]


def test_evaluation_clips_do_not_overlap_and_spread_over_the_split(path):
    everything = [row for clip in clips(path, max_clips=100) for row in rows(clip)]
    assert len(everything) == len(set(everything)) == 6 * (3 + 0 + 1 + 5 + 0)
    few = [rows(clip)[0] for clip in clips(path, max_clips=3)]
    assert len(few) == 3 and few[0] == 0 and few[-1] >= 34  # the last one is in the long episode
    assert few == [rows(clip)[0] for clip in clips(path, max_clips=3)]


def test_in_memory_equals_lazy(pong_root):
    lazy, loaded = (clips(pong_root / "train.h5", 5, 2, (64, 64), in_memory=m) for m in (False, True))
    assert len(lazy) == len(loaded) > 100
    for index in range(0, len(lazy), 37):
        one, two = lazy[3, index], loaded[3, index]
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=0, atol=0, equal_nan=True)


def test_reading_does_not_load_the_file(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "large.h5", [2000], image_size=(64, 64))  # 25 MB
    tracemalloc.start()
    try:
        dataset = clips(path, 16, image_size=(64, 64))
        for index in range(0, len(dataset), 50):
            dataset[index]
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_seeds_belong_to_the_sample_and_the_epoch(path):
    dataset = clips(path)
    seeds = {int(dataset[epoch, index]["seed"]) for epoch in range(3) for index in range(len(dataset))}
    assert len(seeds) == 3 * len(dataset)
    assert dataset[1, 4]["seed"] == dataset[1, 4]["seed"]
    assert dataset[4]["seed"] == dataset[0, 4]["seed"]


def test_frames_of_another_size_are_resized(path):
    clip = clips(path, image_size=(4, 12))[7]
    assert clip["frames"].shape == (6, 3, 4, 12)
    assert (clip["frames"] == clips(path)[7]["frames"][:, :, :1, :1]).all()  # plain colours stay


def test_a_file_with_frames_alone_is_one_episode(tmp_path, write_episodes):
    dataset = clips(write_episodes(tmp_path / "frames.h5", LENGTHS, only_frames=True))
    assert len(dataset) == sum(LENGTHS) - 5
    assert set(dataset[0]) == {"frames", "index", "row", "seed", "fps"}


def test_an_open_reader_travels_without_its_handle(path):
    dataset = clips(path)
    before = dataset[3]
    after = pickle.loads(pickle.dumps(dataset))[3]
    assert torch.equal(before["frames"], after["frames"])


def test_a_forked_worker_opens_the_file_itself(path, monkeypatch):
    reader = clips(path).reader
    reader.frames(0, 1)
    parents = reader._opened["frames"]
    monkeypatch.setattr("os.getpid", lambda: -1)
    reader.frames(0, 1)
    assert reader._opened["frames"] is not parents


def test_damaged_and_foreign_files_are_named(tmp_path, path, write_episodes):
    import h5py

    def says(match, change=None, name="bad.h5"):
        bad = write_episodes(tmp_path / name, LENGTHS)
        if change:
            with h5py.File(bad, "a") as file:
                change(file)
        with pytest.raises(UserError, match=match) as raised:
            clips(bad)
        assert "bad.h5" in str(raised.value) and "\n" not in str(raised.value)

    def replace(name, value):
        def change(file):
            del file[name]
            file[name] = value

        return change

    total = sum(LENGTHS)
    says(r"no dataset 'frames' \(or 'states'\), only: actions", lambda file: file.__delitem__("frames"))
    says("float32.*not uint8", replace("frames", np.zeros((total, 8, 8, 3), np.float32)))
    says(r"\[69, 3, 8, 8\].*not uint8", replace("frames", np.zeros((total, 3, 8, 8), np.uint8)))
    says("actions .* float64", replace("actions", np.zeros(total)))
    says("rewards .* each of the 69 frames", replace("rewards", np.zeros(total - 1)))
    says("episode_ends", replace("episode_ends", np.array([30, 20, total])))
    says("episode_ends", replace("episode_ends", np.array([30])))
    with pytest.raises(UserError, match="no file"):
        clips(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(UserError, match="damaged or no HDF5"):
        clips(tmp_path / "text.h5")
    (tmp_path / "half.h5").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or no HDF5"):
        clips(tmp_path / "half.h5")


def test_objects_stay_on_their_pixels_when_frames_are_resized(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "a.h5", [16], image_size=(6, 8))
    with h5py.File(path, "a") as file:
        file["frames"][:] = 0
        file["frames"][:, 2:4, 4:8] = 200  # rows 2-3, columns 4-7
        file["objects"][:] = [[5.5, 2.5]]
    reader = EpisodeReader(path, (3, 2))
    assert reader.frames(0, 1)[0, ..., 0].tolist() == [[0, 0], [0, 200], [0, 0]]
    assert reader.column("objects", 0, 1).tolist() == [[[1, 1]]]  # x, y
    assert EpisodeReader(path, (6, 8)).column("objects", 0, 1).tolist() == [[[5.5, 2.5]]]


@pytest.mark.parametrize(("num_frames", "stride", "past_end"), [(6, 1, 4), (4, 3, 2), (6, 1, 1)])
def test_behind_a_true_end_all_stands_still(path, num_frames, stride, past_end):
    """As many more clips of each episode as it has frames behind it, those of a short one too."""
    reader = EpisodeReader(path, (8, 8), False)
    dataset = ClipDataset(reader, reader.episodes, num_frames, stride, 15.0, 0, past_end=past_end)
    span, ends = (num_frames - 1) * stride + 1, np.cumsum(LENGTHS)
    reach = past_end * stride
    possible = [
        t for end, n in zip(ends, LENGTHS, strict=True) for t in range(end - n, max(end - n, end + reach - span + 1))
    ]
    assert [rows(clip)[0] for clip in dataset] == possible and len(possible) > 0
    inside = {clip["frames"][0, 1, 0, 0].item(): clip for clip in clips(path, num_frames, stride)}
    for clip in dataset:
        first, end = rows(clip)[0], ends[np.searchsorted(ends, rows(clip)[0], side="right")]
        if first in inside:  # as without
            assert all(torch.equal(clip[name], inside[first][name]) for name in ("frames", "actions", "rewards"))
            continue
        seen = np.arange(first, end, stride)
        behind = num_frames - len(seen)
        assert 0 < behind <= past_end + 1 and rows(clip) == [*seen, *([rows(clip)[len(seen)]] * behind)]
        assert rows(clip)[-1] in (seen[-1], end - 1)
        for name in ("actions", "rewards"):
            assert clip[name][len(seen) :].tolist() == [0] * behind
        assert clip["terminals"][len(seen) - 1 :].all() and torch.equal(clip["objects"][-1], clip["objects"][-2])


def test_only_episodes_that_were_over_go_on_behind_their_end(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "data.h5", LENGTHS)
    with h5py.File(path, "r+") as file:
        terminals = file["terminals"][:]
        terminals[np.cumsum(LENGTHS)[1:] - 2] = False  # the time of all others was up
        file["terminals"][...] = terminals
    reader = EpisodeReader(path, (8, 8), False)
    more = ClipDataset(reader, reader.episodes, 6, 1, 15.0, 0, past_end=4)
    assert len(more) - len(clips(path)) == 4
