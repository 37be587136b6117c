"""Many episode files as one: opened by their index, few at a time, and without the damaged ones."""

import json

import h5py
import numpy as np
import pytest
import torch

from data_modules.action_ids import ActionOptions
from data_modules.clip_data_module import ClipDataModule
from data_modules.formats import shards
from data_modules.formats.shards import open_shards
from data_modules.frame_reader import Reading
from genie.common.errors import UserError

INDEX = f".{shards.NAME}.json"


def opened(folder, on_error="skip"):
    return open_shards(folder, sorted(folder.glob("*.h5")), Reading((8, 8), "squeeze", None, False, on_error))


@pytest.fixture
def folder(tmp_path, write_episodes):
    """Six files of two episodes each; rows are counted through."""
    for number in range(6):
        write_episodes(tmp_path / "shards" / f"{number}.h5", [7, 5], first=number * 12)
    return tmp_path / "shards"


@pytest.fixture
def examined(monkeypatch):
    """The names of the files whose header was read, in order."""
    names = []

    def read(path):
        names.append(path.name)
        return header(path)

    header = shards.read_header
    monkeypatch.setattr(shards, "read_header", read)
    return names


def test_files_are_examined_once_and_again_when_they_change(folder, examined, write_episodes):
    first = opened(folder)
    assert examined == [f"{number}.h5" for number in range(6)]
    again = opened(folder)
    assert len(examined) == 6
    for name in ("episodes", "recordings"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.columns == again.columns and first.object_names == again.object_names == ["thing"]
    write_episodes(folder / "2.h5", [9])
    write_episodes(folder / "9.h5", [4])
    (folder / "0.h5").unlink()
    assert opened(folder).num_frames == 4 * 12 + 9 + 4
    assert examined[6:] == ["2.h5", "9.h5"]
    assert sorted(json.loads((folder / INDEX).read_text())) == [f"{n}.h5" for n in (1, 2, 3, 4, 5, 9)]


def test_a_damaged_index_is_made_anew(folder, examined):
    (folder / INDEX).write_text("{")
    assert opened(folder).num_frames == opened(folder).num_frames == 72
    assert len(examined) == 6


def test_the_index_is_in_the_cache_where_the_folder_cannot_be_written(folder, examined, monkeypatch, tmp_path):
    monkeypatch.setenv("GENIE_CACHE", str(tmp_path / "cache"))
    (folder / INDEX).with_suffix(".lock").mkdir()  # what cannot be locked cannot be written
    opened(folder), opened(folder)
    assert len(examined) == 6 and len(list((tmp_path / "cache").rglob("*.json"))) == 1
    monkeypatch.setenv("GENIE_CACHE", "/proc/nowhere")
    assert opened(folder).num_frames == 72 and len(examined) == 12  # nowhere at all: slower, and as right


def test_few_files_are_open_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(shards, "MOST_OPEN", 2)
    reader = opened(folder)
    order = np.random.default_rng(0).permutation(72)
    for row in order:
        assert reader.frames(row, row + 1)[0, 0, 0, 1] == reader.column("rewards", row, row + 1)[0] == row
        assert sum(bool(one._opened) for one in reader.readers) <= 2


def damage(folder):
    """Cuts the file 1 in the middle, and makes 3 and 4 something else. Returns the file 1."""
    cut = folder / "1.h5"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (folder / "3.h5").write_text("not HDF5")
    (folder / "4.h5").write_bytes(b"")
    return cut


def test_damaged_files_are_said_once_and_left_out(folder, capsys):
    cut = damage(folder)
    reader = opened(folder)
    assert reader.column("rewards", 0, reader.num_frames).tolist() == [
        n for k in (0, 2, 5) for n in range(12 * k, 12 * k + 12)
    ]
    said = capsys.readouterr().err
    assert said.count("\n") == 4 and said.count(str(cut)) == 1 and "truncated" in said
    assert f"{folder}: 3 of 6 episode files cannot be read" in said


def test_a_file_whose_names_are_none_is_left_out_unless_others_are_given(folder, capsys):
    with h5py.File(folder / "3.h5", "a") as file:
        file.attrs["action_meanings"] = 3
    assert opened(folder).num_frames == 5 * 12
    assert "left out: action_meanings in" in capsys.readouterr().err
    names = ActionOptions(names=tuple(f"action {number}" for number in range(80)))
    reading = Reading((8, 8), "squeeze", None, False, "skip", names)
    assert open_shards(folder, sorted(folder.glob("*.h5")), reading).num_frames == 6 * 12


def test_a_damaged_file_is_one_line_where_that_is_wanted(folder):
    cut = damage(folder)
    with pytest.raises(UserError, match=f"{cut} is damaged .*data.on_error=skip") as raised:
        opened(folder, on_error="raise")
    assert "\n" not in str(raised.value)
    for number in (0, 2, 5):
        (folder / f"{number}.h5").unlink()
    with pytest.raises(UserError, match="none of the 3 files .* can be read; the first: .*1.h5"):
        opened(folder)


def test_many_damaged_files_do_not_flood_the_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(shards, "MOST_NAMED", 1)
    damage(folder)
    opened(folder)
    assert capsys.readouterr().err.count("\n") == 2


def test_batches_depend_neither_on_workers_nor_on_the_way_files_are_cut(tmp_path, write_episodes):
    lengths = [9, 14, 11, 8, 17, 12]
    first = np.cumsum([0, *lengths])
    write_episodes(tmp_path / "one" / "all.h5", lengths)
    for number, length in enumerate(lengths):
        write_episodes(tmp_path / "many" / f"{number}.h5", [length], first=int(first[number]))

    def batches(root, num_workers, rank=0, world_size=1):
        data = ClipDataModule(str(tmp_path / root), (8, 8), 4, 2, num_workers=num_workers)
        data.ranks = lambda: (rank, world_size)
        data.setup()
        return [(batch["actions"], batch["seed"]) for batch in data.train_dataloader()]

    whole = batches("one", 0)
    for other in (batches("many", 0), batches("many", 2)):
        assert len(other) == len(whole) > 10
        for (actions, seeds), (expected, expected_seeds) in zip(other, whole, strict=True):
            assert torch.equal(actions, expected) and torch.equal(seeds, expected_seeds)
    ranks = [batches("many", 0, rank, 3) for rank in range(3)]
    assert len({len(part) for part in ranks}) == 1  # every rank takes as many steps
    seeds = torch.cat([seed for part in ranks for _, seed in part])
    assert len(seeds.unique()) == len(seeds)
