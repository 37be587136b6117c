"""`genie.convert`: frames stay what they are, a killed conversion goes on, and what is damaged is left out."""

import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from hydra import initialize_config_module

from data_modules.clip_data_module import ClipDataModule
from data_modules.frame_reader import JoinedReaders
from data_modules.worker_loader import DamagedData
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.common.media import write_mp4
from genie.convert import main
from genie.datasets import convert as conversion

pytestmark = pytest.mark.slow

LENGTHS = [9, 14, 11, 8, 17]


@pytest.fixture
def folder(tmp_path):
    """Five episode files of one episode each; frame t of the file n is 10 n + t everywhere, and so is its action."""
    for number, length in enumerate(LENGTHS):
        values = 10 * number + np.arange(length)
        path = tmp_path / "source" / f"{number}.h5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["frames"] = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (length, 8, 8, 3))
            file["actions"] = values
            file["objects"] = np.stack([values, values], 1)[:, None].astype(np.float32)
            file.attrs["fps"] = 5.0
    return tmp_path / "source"


@pytest.fixture
def settings(tmp_path, folder):
    """settings(output): the overrides of a conversion of the five files."""
    return lambda output: [
        "data=episodes", f"data.root={folder}", "data.image_size=[8,8]", "num_workers=0", f"output={tmp_path / output}"
    ]  # fmt: skip


@pytest.fixture
def convert(capsys, settings):
    """convert(output, *overrides): what was printed; raises what the command would print in one line."""

    def start(output, *overrides):
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("convert", [*settings(output), *overrides])
        print(conversion.convert(config))
        return capsys.readouterr().out

    return start


def test_a_name_of_another_kind_of_file_is_one_line(convert, tmp_path):
    with pytest.raises(UserError, match=r"car.MP4: episodes are written, no .MP4 file: give a name that ends with .h5"):
        convert("car.MP4")
    assert not (tmp_path / "car.MP4").exists()


def test_recordings_of_a_moment_are_counted(convert, monkeypatch):
    monkeypatch.setattr(conversion, "SHORT", min(LENGTHS) + 1)
    assert f"; {LENGTHS.count(min(LENGTHS))} of less than {min(LENGTHS) + 1} frames" in convert("all.h5")
    monkeypatch.setattr(conversion, "SHORT", max(LENGTHS) + 1)
    assert "of less than" not in convert("again.h5")


def test_one_file_holds_all_episodes_as_they_were(convert, tmp_path, load):
    assert "converted 5 recordings, 5 episodes, 59 frames, 8x8 at 5 fps" in convert("all.h5")
    data = load(tmp_path / "all.h5")
    values = np.concatenate([10 * number + np.arange(length) for number, length in enumerate(LENGTHS)])
    np.testing.assert_array_equal(data["frames"][:, 3, 4, 1], values)
    np.testing.assert_array_equal(data["actions"][:-1], values[:-1])
    assert data["actions"][-1] == 0  # on the last row nothing was decided, and no decision has its id
    np.testing.assert_array_equal(data["objects"][:, 0, 0], values)
    assert data["episode_ends"].tolist() == np.cumsum(LENGTHS).tolist()
    assert set(data) == {"frames", "actions", "objects", "episode_ends"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.h5", "source"]


@pytest.mark.parametrize(
    ("overrides", "files"),
    [
        ([], ["test.h5", "train.h5", "val.h5"]),
        (["shard_frames=20"], ["test/00000.h5", "train/00000.h5", "train/00001.h5", "val/00000.h5"]),
    ],
)
def test_a_folder_is_split_as_it_would_have_been_in_training(convert, tmp_path, folder, overrides, files):
    convert("out", *overrides)
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.h5")) == files
    before, after = (ClipDataModule(str(root), (8, 8), 4, 2) for root in (folder, tmp_path / "out"))
    for data in (before, after):
        data.setup()
    for split in ("train", "val", "test"):
        one, other = before.datasets[split], after.datasets[split]
        assert len(one) == len(other) > 0
        for index in range(len(one)):
            assert (one[index]["frames"] == other[index]["frames"]).all()


def test_a_stream_is_written_and_read(convert, tmp_path, folder):
    pytest.importorskip("litdata")
    convert("stream", "format=stream")
    data = ClipDataModule(
        str(tmp_path / "stream"), (8, 8), 4, 2, source="stream", stream={"storage_options": None, "cache": None}
    )
    data.setup()
    assert len(data.train_dataset) == 6 + 11 + 8
    assert data.train_dataset[6]["actions"].tolist() == [10, 11, 12, 13]
    assert data.test_dataset[0]["actions"].tolist() == [40, 41, 42, 43]


def test_what_was_done_is_not_done_again(convert, tmp_path, load, monkeypatch):
    read, made = JoinedReaders.frames, []

    def breaks(self, start, stop, step=1):
        made.append(start)
        if len(made) == 3:
            raise KeyboardInterrupt
        return read(self, start, stop, step)

    monkeypatch.setattr(JoinedReaders, "frames", breaks)
    with pytest.raises(KeyboardInterrupt):
        convert("all.h5")
    assert not (tmp_path / "all.h5").exists()
    monkeypatch.setattr(JoinedReaders, "frames", lambda self, *rows: made.append(rows[0]) or read(self, *rows))
    assert "going on: 2 of 5 recordings are done" in convert("all.h5")
    assert made == [0, 9, 23, 23, 34, 42]
    assert load(tmp_path / "all.h5")["actions"].tolist()[-2:] == [55, 0]


def test_other_settings_or_files_start_anew(convert, folder, monkeypatch, capsys):
    monkeypatch.setattr("genie.datasets.convert._copy", lambda *arguments: 1 / 0)

    def stopped(*overrides):
        with pytest.raises(ZeroDivisionError):
            convert("all.h5", *overrides)
        return capsys.readouterr().out

    stopped()
    assert "going on: 5 of 5" in stopped()
    assert "(image_size [8, 8] -> [4, 4]): starting anew" in stopped("data.image_size=[4,4]")
    assert "going on: 5 of 5" in stopped("data.image_size=[4,4]", "data.batch_size=3")
    os.utime(folder / "0.h5", (1, 1))
    assert "(other files): starting anew" in stopped("data.image_size=[4,4]")


def test_an_output_is_not_overwritten_by_accident(convert, tmp_path, load):
    convert("out", "shard_frames=10")
    with pytest.raises(UserError, match="test/00000.h5 and 3 more exist already: give overwrite=true"):
        convert("out")
    convert("out", "overwrite=true")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.h5")) == ["test.h5", "train.h5", "val.h5"]


@pytest.mark.parametrize("output", ["source/0.h5", "source"])
def test_what_is_read_is_not_replaced(convert, folder, output):
    with pytest.raises(UserError, match="is where the data are read from"):
        convert(output, "overwrite=true")
    assert len(list(folder.iterdir())) == 7  # the five files, their index and its lock


@pytest.mark.parametrize(("output", "taken"), [("more.h5", "source"), ("below", "source"), ("val/2.h5", "split")])
def test_nothing_is_written_among_the_files_that_are_read(convert, folder, tmp_path, output, taken):
    """It would be read along with them the next time, and every frame twice."""
    (tmp_path / "split" / "val").mkdir(parents=True)
    for name in ("train.h5", "val/1.h5"):
        (tmp_path / "split" / name).write_bytes((folder / "0.h5").read_bytes())
    root = tmp_path / taken
    with pytest.raises(UserError, match="lies among the files that are read"):
        convert(f"{taken}/{output}", f"data.root={root}")
    assert "converted" in convert("split/whole.h5", f"data.root={tmp_path / 'split'}")  # nobody reads it along
    assert "converted" in convert("source/stream", "format=stream")


def test_a_folder_without_one_of_its_splits_is_not_written(convert, folder):
    with pytest.raises(UserError, match=r"data.holdout=0.1 of 9 frames leaves nothing for val: .*output=<name>.h5"):
        convert("out", f"data.root={folder / '0.h5'}")
    assert "converted 1 recordings" in convert("out.h5", f"data.root={folder / '0.h5'}")


def test_a_link_to_nothing_is_left_out(convert, folder):
    (folder / "gone.h5").symlink_to("nowhere.h5")
    assert "converted 5 recordings" in convert("out.h5")


@pytest.fixture
def scratched(monkeypatch):
    """Two of the rows cannot be read."""
    read = JoinedReaders.frames

    def frames(self, start, stop, step=1):
        if start <= 30 < stop or start <= 58 < stop:
            raise DamagedData("the data are gone")
        return read(self, start, stop, step)

    monkeypatch.setattr(JoinedReaders, "frames", frames)


def test_what_cannot_be_read_is_named_and_left_out(convert, tmp_path, load, scratched):
    out = convert("all.h5")
    assert out.count("the data are gone") == 2
    assert "converted 3 recordings" in out and "2 recordings could not be read" in out
    assert load(tmp_path / "all.h5")["episode_ends"].tolist() == [9, 23, 31]
    with pytest.raises(UserError, match="the data are gone .data.on_error=skip"):
        convert("other.h5", "data.on_error=raise")


def test_processes_write_what_one_writes(convert, tmp_path):
    convert("one.h5"), convert("two.h5", "num_workers=2")
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "two.h5") as two:
        for name in one:
            np.testing.assert_array_equal(one[name][:], two[name][:])


def test_videos_become_episodes_and_their_scenes_stay_together(tmp_path, run_main, load):
    for number, level in enumerate((50, 100, 150)):
        picture = np.full((24, 32, 3), level, np.uint8)
        scenes = [picture] * 20 + [255 - picture[::-1] // 2] * (20 if number == 1 else 0)
        write_mp4(tmp_path / "videos" / f"{number}.mp4", scenes, 20)
    whole = (tmp_path / "videos" / "0.mp4").read_bytes()
    (tmp_path / "videos" / "9.mp4").write_bytes(whole[: len(whole) // 2])
    options = ["data.image_size=[8,8]", "data.fps=10", "data.videos.cuts=detect", "num_workers=2"]
    code, out, err = run_main(main, f"videos={tmp_path / 'videos'}", f"output={tmp_path / 'mine.h5'}", *options)
    assert code == 0 and "converted 3 recordings, 4 episodes, 40 frames" in out, err
    assert err.count("9.mp4") == 1
    data = load(tmp_path / "mine.h5")
    assert set(data) == {"frames", "episode_ends", "recordings"}
    assert data["episode_ends"].tolist() == [10, 20, 30, 40] and data["recordings"].tolist() == [0, 1, 1, 2]
    levels = data["frames"].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, np.repeat([50, 100, 255 - 50, 150], 10), atol=4)


def test_a_killed_conversion_goes_on(tmp_path, run_main, load):
    lengths = [64] * 16
    (tmp_path / "large").mkdir()
    for number, length in enumerate(lengths):  # they take a while to be resized
        with h5py.File(tmp_path / "large" / f"{number:02d}.h5", "w") as file:
            file["frames"] = np.full((length, 160, 160, 3), number, np.uint8)
    command = ["data=episodes", f"data.root={tmp_path / 'large'}", f"output={tmp_path / 'all.h5'}", "num_workers=0"]
    parts = tmp_path / ".all.h5.parts"
    process = subprocess.Popen([sys.executable, "-m", "genie.convert", *command], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while len(list(parts.glob("0*.h5"))) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    done = len(list(parts.glob("0*.h5")))
    assert 2 <= done < len(lengths), "it was not killed in the middle"
    code, out, err = run_main(main, *command)
    assert code == 0 and f"going on: {done} of {len(lengths)}" in out, err
    data = load(tmp_path / "all.h5")
    assert data["episode_ends"].tolist() == np.cumsum(lengths).tolist()
    assert data["frames"][::64, 5, 5, 0].tolist() == list(range(16))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.h5", "large"]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["output=a.h5", "format=stream"], "format=stream writes a folder"),
        (["output=a.h5", "shard_frames=10"], "shard_frames= needs a folder"),
        (["output=a", "format=mp4"], "format=mp4 must be one of episodes, stream"),
        (["output=a", "videos=folder"], "videos=folder is for videos alone"),
        (["output=a", "data.min_quality=3"], "data.min_quality is for training"),
        (["output=a", "data.augmentation.shift=0.1"], "data.augmentation is for training"),
        (["output=a", "data.on_error=hide"], "data.on_error=hide must be one of skip, raise"),
        (["output=/proc/nowhere/a.h5"], "cannot write into /proc/nowhere"),
    ],
)
def test_a_mistake_is_one_line(run_main, settings, monkeypatch, tmp_path, overrides, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_main(main, *settings("unused"), *overrides)
    assert code == 2 and err.count("\n") == 1 and says in err
