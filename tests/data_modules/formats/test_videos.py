"""Folders of videos as data: rows at one rate, clips within scenes, the same batches for all, damage left out."""

from fractions import Fraction
from importlib.util import find_spec

import av
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.videos import Videos
from data_modules.worker_loader import DamagedData
from genie.common.errors import UserError

pytestmark = pytest.mark.slow

OPTIONS = {"decoder": "auto", "cuts": "none", "cut_threshold": 0.15}


def module(root, options=None, **changes):
    settings = {"image_size": (24, 32), "num_frames": 4, "batch_size": 2, "fps": 10, "source": "videos"}
    settings |= {"on_error": "skip", "videos": OPTIONS | (options or {})} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def reader_of(root, **changes):
    return module(root, **changes).splits["train"][0]


def shown(reader, read_numbers):
    """The numbers that the rows of each recording show."""
    return [read_numbers(reader.frames(int(first), int(end))) for first, end in reader.episodes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video, number_frames):
    """Five videos of two seconds, of many kinds, in a folder and one below it."""
    root = tmp_path_factory.mktemp("videos")
    frames, quick = number_frames(60), {"cpu-used": 8, "deadline": "realtime"}
    write_video(root / "1.mp4", frames, g=12, bf=2)
    write_video(root / "2.webm", number_frames(60, (64, 96)), codec="libvpx-vp9", g=12, **quick)
    write_video(root / "3.avi", frames, codec="mpeg4", g=12)
    write_video(root / "below" / "4.mkv", number_frames(60, (40, 40)), g=12)
    write_video(root / "below" / "5.gif", frames, codec="gif", pix_fmt="rgb8")
    return root


def damage(path):
    """Overwrites the middle of a file: it is found out only by who decodes it."""
    content = bytearray(path.read_bytes())
    middle, length = len(content) // 2, len(content) // 8
    content[middle : middle + length] = bytes(length)
    path.write_bytes(content)


@pytest.fixture
def damaged(tmp_path, write_video, number_frames):
    """A folder of four videos, the second of them damaged in the middle, and three files that are no videos."""
    noise = np.random.default_rng(0).integers(0, 60, (60, 48, 64, 1), dtype=np.uint8)
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", number_frames(60) // 2 + noise, g=15, bf=0, sc_threshold=0)
    damage(tmp_path / "1.mp4")
    for name in ("empty.mp4", "text.webm", "other.gif"):
        (tmp_path / name).write_text("" if name == "empty.mp4" else "no video")
    return tmp_path


@pytest.mark.parametrize(("fps", "expected"), [(30, range(60)), (10, range(0, 60, 3)), (5, range(0, 60, 6))])
def test_all_kinds_of_files_are_resampled_to_one_rate(folder, read_numbers, fps, expected):
    for numbers in shown(reader_of(folder, fps=fps, num_frames=2), read_numbers):
        assert numbers == list(expected)


def test_a_higher_rate_repeats_frames(folder, read_numbers):
    numbers = shown(reader_of(folder, fps=60), read_numbers)[0]
    assert numbers == [n // 2 for n in range(119)]


def test_a_row_shows_the_last_frame_that_is_on_by_then(tmp_path, write_video, number_frames, read_numbers):
    times = np.cumsum([700, 20, 30, 390, 41, 7, 120] * 6).tolist()
    write_video(tmp_path / "variable.mkv", number_frames(42), milliseconds=times, bf=2)
    reader = reader_of(tmp_path, num_frames=2)
    expected = [max(n for n, t in enumerate(times) if t <= times[0] + 100 * k + 5) for k in range(reader.num_frames)]
    assert read_numbers(reader.frames(0, reader.num_frames)) == expected
    assert reader.num_frames == (times[-1] - times[0] + 5) // 100 + 1
    assert read_numbers(reader.frames(3, 30, 7)) == expected[3:30:7]


def test_rows_of_several_videos_at_once(folder, read_numbers):
    reader = reader_of(folder)
    assert reader.num_frames == 100 and reader.recordings.tolist() == [0, 1, 2, 3, 4]
    assert read_numbers(reader.frames(18, 43, 2)) == [54, *range(0, 60, 6), 0, 6]


def test_who_chose_decord_is_told_which_files_it_does_not_read(folder, read_numbers, capfd):
    pytest.importorskip("decord", reason="pip install 'genie-world[decord]'")
    reader = reader_of(folder, options={"decoder": "decord"}, num_frames=2)
    (said,) = capfd.readouterr().err.splitlines()
    assert f"of 5 videos in {folder}, PyAV reads 2, " in said and "(avi files: 3.avi; gif files: 5.gif)" in said
    assert shown(reader, read_numbers) == [list(range(0, 60, 3))] * 5
    reader_of(folder)
    assert capfd.readouterr().err == ""


def test_a_size_that_changes_on_the_way_is_fitted_like_any_other(tmp_path, write_video, number_frames, read_numbers):
    """As in a call that is recorded: two parts in one file."""
    raw = {"codec": "libx264", "bf": 0, "x264-params": "repeat-headers=1"}
    parts = [write_video(tmp_path / f"{h}.h264", number_frames(20, (h, w)), **raw) for h, w in ((48, 64), (64, 96))]
    (tmp_path / "both.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(tmp_path / "both.h264")) as source, av.open(str(tmp_path / "both.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            target.mux(packet)
    for decoder in ("pyav", *(["decord"] if find_spec("decord") else [])):
        reader = reader_of(tmp_path / "both.mkv", options={"decoder": decoder}, num_frames=2, holdout=0.2)
        assert read_numbers(reader.frames(0, 40)) == [*range(20), *range(20)], decoder


@pytest.mark.parametrize("how", ["squeeze", "pad", "crop"])
def test_frames_have_the_size_of_the_clips_whatever_theirs_is(folder, how):
    reader = reader_of(folder, fit=how)
    assert reader.frames(0, 100).shape == (100, 24, 32, 3)
    sides = reader.frames(79, 80)[0, :, [0, -1]]  # the last frame of the square video
    assert (sides == 0).all() if how == "pad" else (sides[0] > 128).any()


def test_videos_are_split_by_file_or_by_folder(folder, tmp_path, write_video, number_frames):
    data = module(folder)
    assert [len(episodes) for _, episodes in data.splits.values()] == [3, 1, 1]
    for name in ("train/a/1.mp4", "train/b/2.mp4", "val/3.mp4"):
        write_video(tmp_path / name, number_frames(60))
    data = module(tmp_path)
    assert {split: len(reader.videos) for split, (reader, _) in data.splits.items()} == {"train": 2, "val": 1}
    alone = module(tmp_path / "val" / "3.mp4", num_frames=2, val_clips=1, holdout=0.25)  # of 20 rows, by time
    assert [len(part) for part in alone.datasets.values()] == [7, 1, 1]


def test_clips_do_not_cross_cuts(tmp_path, write_video):
    frames = np.zeros((60, 48, 64, 3), np.uint8)
    for n in range(60):
        frames[n, 10:20, n : n + 8] = 255
        frames[n, ..., 0 if n < 20 else 2] |= 160
    frames[50:, ..., 1] = 200
    for name in ("train", "val"):
        write_video(tmp_path / name / "cuts.mp4", frames)
    assert reader_of(tmp_path, num_frames=2).episodes.tolist() == [[0, 20]]
    data = module(tmp_path, {"cuts": "detect"}, num_frames=2)
    assert data.splits["train"][0].episodes.tolist() == [[0, 7], [7, 17], [17, 20]]
    colours = [clip["frames"][:, :, 0, 0].float() for clip in data.train_dataset]
    assert len(colours) == 6 + 9 + 2
    for colour in colours:
        assert (colour[0] - colour[1]).abs().max() < 30


def batches(data):
    return [batch for _ in range(2) for batch in data.train_dataloader()] + list(data.val_dataloader())


def same(one, two):
    assert len(one) == len(two) > 5
    for a, b in zip(one, two, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


def test_batches_do_not_depend_on_the_workers(folder):
    one = module(folder, num_workers=0)
    one.train_dataset[0]  # open files in the parent must not matter
    same(batches(one), batches(module(folder, num_workers=2)))


def test_damage_is_said_once_counted_and_replaced_by_the_same_clips_for_all(damaged, capfd):
    data = module(damaged, num_workers=2)
    said = capfd.readouterr().err.splitlines()
    assert [line.split(" cannot be read")[0].rpartition("/")[2] for line in said[:3]] == [
        "empty.mp4",
        "other.gif",
        "text.webm",
    ]
    assert said[3:] == [f"3 of 7 videos in {damaged} cannot be read and are left out"]
    several = batches(data)
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1 and "1.mp4, " in said[0] and "cannot be decoded (" in said[0]
    data.teardown()
    count = int(data.train_dataset.damage.clips.sum())
    assert capfd.readouterr().err == f"train: {count} clips of 1 files could not be read and were replaced\n"
    alone = module(damaged, num_workers=0)
    assert capfd.readouterr().err.splitlines() == [f"3 of 7 videos in {damaged} cannot be read and are left out"]
    same(several, batches(alone))
    replaced = int(alone.train_dataset.damage.clips.sum())
    assert replaced == count > 2
    first, other = ([clip["frames"] for clip in map(alone.train_dataset.__getitem__, keys)] for keys in (
        [(0, n) for n in range(len(alone.train_dataset))], [(1, n) for n in range(len(alone.train_dataset))]
    ))  # fmt: skip
    assert 0 < sum(not torch.equal(a, b) for a, b in zip(first, other, strict=True)) <= replaced


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damage_may_end_the_run_in_one_line(damaged, num_workers):
    with pytest.raises(UserError, match=r"empty.mp4 cannot be read \(Invalid .*; 3 of 7 videos in .* cannot be read"):
        module(damaged, on_error="raise")
    for path in damaged.glob("*.*"):
        if path.stem in ("empty", "text", "other"):
            path.unlink()
    data = module(damaged, on_error="skip", num_workers=num_workers)
    for dataset in data.datasets.values():
        dataset.on_error = "raise"
    with pytest.raises(DamagedData, match=r"^\S*1.mp4, \d.\d\d to \d.\d\d s, cannot be decoded \(.+\)$"):
        batches(data)


def test_nothing_that_can_be_used_is_one_line(tmp_path, write_video, number_frames):
    def says(match, root=tmp_path, **changes):
        with pytest.raises(UserError, match=match) as raised:
            module(root, **changes)
        assert "\n" not in str(raised.value)

    endings = ", ".join(Videos.suffixes)
    says(rf"no .*/train.mp4 and no .*/val.mp4: give data.root=.* or other videos \({endings}\)")
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / name).write_bytes(b"")
    says(r"1.mp4 cannot be read \(Invalid data.*\); 2 of 2 videos in .* cannot be read$")
    says(r"1.mp4 cannot be read \(Invalid data.*\)$", tmp_path / "1.mp4")
    (tmp_path / "4.mp4").symlink_to("nowhere.mp4")
    says(r"3 of 3 videos in .* cannot be read$")
    write_video(tmp_path / "3.mp4", number_frames(5))
    says("no clip for train in .*3.mp4|no clip for train .*cuts 1 recording of 2 frames.* give 3 recordings")
    says("data.source=videos comes with settings of its own: choose data=videos", videos=None)
    says("give data.fps=", fps=None)
    says("data.in_memory=true is for episode files", in_memory=True)


def test_the_background_is_that_of_frames_that_can_be_read(damaged, tmp_path, write_video):
    info = module(damaged).info
    assert info.background.shape == (3, 24, 32) and info.num_actions is None and info.fps == 10
    frames = np.full((40, 48, 64, 3), 60, np.uint8)
    for n in range(40):
        frames[n, :, n : n + 8] = 250
    for name in ("train", "val"):
        write_video(tmp_path / "moving" / name / "1.mp4", frames, g=10)
    background = module(tmp_path / "moving", num_frames=2).info.background
    assert np.abs(background.astype(int) - 60).max() < 8


def test_the_configuration_fits(folder):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", ["data=videos", f"data.root={folder}", "data.num_frames=4", "data.batch_size=2"])
    data = ClipDataModule(**OmegaConf.to_container(cfg.data, resolve=True))
    data.setup()
    assert data.train_dataset[0]["frames"].shape == (4, 3, 64, 64)
