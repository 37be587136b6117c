"""Tar shards, as the library WebDataset writes them: videos and actions are read where they lie, and damage is said."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats import tar_index
from data_modules.formats.videos import Videos
from data_modules.formats.webdataset import TarShards
from data_modules.frame_reader import Reading
from data_modules.sources import files_of
from genie.common.errors import UserError

pytestmark = pytest.mark.slow
webdataset = pytest.importorskip("webdataset")

FRAMES, SAMPLES = 30, 7
VIDEOS = {"decoder": "auto", "cuts": "none", "cut_threshold": 0.15, "actions": "auto"}


@pytest.fixture(scope="module")
def films(tmp_path_factory, write_video, number_frames):
    """The contents of videos, 10 frames a second, whose numbers begin at 30 times theirs."""
    folder = tmp_path_factory.mktemp("films")
    frames = number_frames(SAMPLES * FRAMES)
    parts = [frames[n * FRAMES : (n + 1) * FRAMES] for n in range(SAMPLES)]
    return [write_video(folder / f"{n}.mp4", part, fps=10, g=6, bf=2).read_bytes() for n, part in enumerate(parts)]


def action(number):
    return ["left", "right", "jump"][number % 3]


@pytest.fixture
def shards(tmp_path, films):
    """A folder of three shards of up to three samples, with an action for each frame: its number modulo 3."""
    folder = tmp_path / "shards"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "part-%03d.tar"), maxcount=3, verbose=0) as writer:
        for number, film in enumerate(films):
            actions = [action(number * FRAMES + t) for t in range(FRAMES)]
            writer.write(
                {"__key__": f"clip{number:04d}", "mp4": film, "json": {"fps": 10, "actions": actions}, "txt": "x"}
            )
    return folder


def module(root, options=None, video=None, **changes):
    settings = {"image_size": (24, 32), "num_frames": 4, "batch_size": 2, "fps": 10, "source": "webdataset"}
    settings |= {"on_error": "skip", "videos": VIDEOS | (options or {}), "webdataset": {"video": video}} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def reader_of(root, options=None, video=None, on_error="skip"):
    reading = Reading((24, 32), "squeeze", 10, False, on_error)
    source = TarShards(reading, Videos(reading, **VIDEOS | (options or {})), video)
    return source.open(root, files_of(source, root))


def write_tar(path, files, close=True):
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_frames_and_actions_are_those_of_the_samples(shards, read_numbers):
    reader = reader_of(shards)
    assert reader.num_frames == SAMPLES * FRAMES and reader.recordings.tolist() == list(range(SAMPLES))
    assert reader.action_meanings == ["jump", "left", "right"]
    for start, stop, step in ((0, 210, 1), (200, 210, 1), (25, 100, 7), (89, 91, 1)):
        assert read_numbers(reader.frames(start, stop, step)) == list(range(start, stop, step))
    actions = [reader.action_meanings[n] for n in reader.column("actions", 0, 210)]
    assert actions == [action(n) for n in range(210)]
    assert [len(part) for _, part in module(shards).splits.values()] == [5, 1, 1]
    assert reader_of(shards, {"actions": "none"}).columns == []


def test_a_pattern_of_numbers_and_folders_of_splits(shards, read_numbers, tmp_path):
    reader = reader_of(shards / "part-{000..001}.tar")
    assert reader.num_frames == 6 * FRAMES and read_numbers(reader.frames(170, 180)) == list(range(170, 180))
    alone = reader_of(shards / "part-001.tar")
    assert read_numbers(alone.frames(0, 3)) == [90, 91, 92]
    for split, name in (("train", "000"), ("val", "001")):
        (tmp_path / "split" / split).mkdir(parents=True)
        (shards / f"part-{name}.tar").rename(tmp_path / "split" / split / "x.tar")
    data = module(tmp_path / "split")
    assert data.val_dataset[0]["frames"].shape == (4, 3, 24, 32) and len(data.splits) == 2


def test_batches_depend_on_neither_workers_nor_the_index(shards, monkeypatch):
    def batches(**changes):
        data = module(shards, **changes)
        return [batch for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]

    first = batches()
    monkeypatch.setattr(tar_index, "_members", None)  # the index is there: no shard is looked at again
    for others in (batches(num_workers=2), batches()):
        assert len(others) == len(first) > 5
        for one, other in zip(first, others, strict=True):
            for name in one:
                assert torch.equal(one[name], other[name])


def test_a_changed_shard_is_looked_at_again(shards, films, read_numbers):
    assert reader_of(shards).num_frames == 210
    write_tar(shards / "part-002.tar", {"y.mp4": films[0], "y.json": json.dumps({"actions": ["left"] * 30}).encode()})
    reader = reader_of(shards)
    assert read_numbers(reader.frames(180, 210)) == list(range(30))


def test_actions_of_other_forms(films, tmp_path):
    array = io.BytesIO()
    np.save(array, np.arange(60, dtype=np.float32).reshape(30, 2))
    path = write_tar(tmp_path / "a.tar", {
        **{f"{n}.mp4": films[n] for n in range(3)}, "3/deep.v1.mp4": films[3],
    })  # fmt: skip
    assert reader_of(path).columns == []
    files = {}
    for n in range(3):
        files |= {f"{n}.mp4": films[n], f"{n}.actions.npy": array.getvalue(), f"{n}.json": b'{"caption": "a"}'}
    reader = reader_of(write_tar(tmp_path / "b.tar", files))
    assert reader.action_size == 2 and reader.action_range.tolist() == [[0, 56], [1, 57]]
    files = {}
    for n in range(3):
        files |= {f"{n}.mp4": films[n], f"{n}.actions.csv": b"seconds,action\n0,run\n1.5,stay\n"}
    reader = reader_of(write_tar(tmp_path / "c.tar", files))
    assert reader.column("actions", 30, 60).tolist() == [0] * 15 + [1] * 15


def test_one_of_several_videos_of_a_sample_is_chosen(films, tmp_path, read_numbers):
    files = {}
    for n in range(3):
        files |= {f"{n}.front.mp4": films[n], f"{n}.wrist.mp4": films[n + 3]}
    path = write_tar(tmp_path / "a.tar", files)
    with pytest.raises(
        UserError, match="sample 0 in .* has the videos front.mp4, wrist.mp4: give data.webdataset.video=front"
    ):
        reader_of(path)
    assert read_numbers(reader_of(path, video="wrist.mp4").frames(30, 32)) == [120, 121]
    with pytest.raises(
        UserError, match=r"data.webdataset.video=top.mp4 is not one of the files of the 3 samples .*front"
    ):
        reader_of(path, video="top.mp4")


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


DAMAGE = {  # of the second shard
    "within a file": (lambda path: cut(path, 5000), "it ends within clip0003.mp4|it ends early"),
    "within a header": (lambda path: cut(path, 100), "it is no tar|it ends early"),
    "empty": (lambda path: cut(path, 0), "it is empty"),
    "no end": (lambda path: cut(path, len(path.read_bytes().rstrip(b"\0")) // 512 * 512 + 512), "it ends early, or is"),
    "no tar": (lambda path: path.write_text("nothing " * 1000), "it is no tar"),
    "no sample": (lambda path: write_tar(path, {}), "it holds no sample: files such as 0001.mp4"),
    "packed": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(600)), "it is packed with gzip, .*: unpack it"),
    "twice": (lambda path: write_tar(path, {"a.mp4": b"", "a.MP4": b""}), "a.mp4 is there twice"),
    "apart": (lambda path: write_tar(path, {"a.mp4": b"", "b.mp4": b"", "a.json": b""}), "the files of a are not one"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_shard_is_named_and_left_out(shards, capsys, read_numbers, what):
    damage, says = DAMAGE[what]
    damage(shards / "part-001.tar")
    reader = reader_of(shards)
    said = capsys.readouterr().err
    assert "1 of 3 shards cannot be read and are left out" in said
    assert read_numbers(reader.frames(85, 95)) == [*range(85, 90), *range(180, 185)]
    with pytest.raises(UserError, match=rf"part-001.tar cannot be read \(({says}).*\); 1 of 3 shards in") as raised:
        reader_of(shards, on_error="raise")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=rf"part-001.tar cannot be read \(({says}).*\)$"):
        reader_of(shards / "part-001.tar")


def test_a_shard_that_is_not_there_is_said(shards, capsys):
    assert reader_of(shards / "part-{001..003}.tar").num_frames == 4 * FRAMES
    assert "part-003.tar cannot be read" in capsys.readouterr().err


def test_damaged_samples_are_named_and_left_out(films, tmp_path, capsys, read_numbers):
    files = {"0.mp4": films[0], "0.json": b'{"actions": [1, 2]}', "1.mp4": films[1][:2000], "1.json": b"{"}
    for n in range(2, 6):
        files |= {f"{n}.mp4": films[n], f"{n}.json": json.dumps({"actions": [n % 2] * 30}).encode()}
    reader = reader_of(write_tar(tmp_path / "a.tar", files))
    said = capsys.readouterr().err
    assert "a.tar/0.json has 2 actions, the last of frame 1, and the video 30 frames" in said
    assert "a.tar/1.mp4 cannot be read (" in said and "2 of 6 videos in" in said
    assert read_numbers(reader.frames(0, 2)) == [60, 61]


def test_a_folder_without_shards_or_videos_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match="other tar shards .*tar"):
        module(tmp_path)
    write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.txt": b"y", "2.jpg": b"z"})
    with pytest.raises(
        UserError, match=r"there is no video among the files of the 2 samples in .*: jpg \(2\), txt \(1\)"
    ):
        module(tmp_path)
