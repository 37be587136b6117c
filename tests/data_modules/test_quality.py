"""Which stretches are left at a quality, and which scores are refused."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_modules.annotations import (
    GoodWindows,
    Table,
    Window,
    covered,
    curation_folder,
    identity,
    read_table,
    write_table,
)
from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.episode_reader import EpisodeReader
from genie.common.errors import UserError

LENGTHS = [20, 10, 30, 12]  # 72 rows


def module(root, **changes):
    settings = {"image_size": (8, 8), "num_frames": 4, "batch_size": 1, "fps": 10.0} | changes
    data = ClipDataModule(root=str(root), **settings)
    data.setup()
    return data


def rows(dataset):
    return {row for clip in dataset for row in clip["frames"][:, 1, 0, 0].tolist()}


@pytest.fixture
def scored(tmp_path, write_episodes):
    """A folder of train.h5 and val.h5 whose train split has these windows, the quality of each its index."""
    for split in ("train", "val"):
        path = write_episodes(tmp_path / f"{split}.h5", LENGTHS)
        with h5py.File(path, "a") as file:  # frames that differ enough to be told apart
            file["frames"][..., 2] = np.random.default_rng(0).integers(0, 256, (72, 1, 1))
    bounds = [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60), (60, 72)]
    windows = {Window("train", *rows): {"quality": str(number)} for number, rows in enumerate(bounds)}
    data = {"train": identity(EpisodeReader(tmp_path / "train.h5", (8, 8)))}
    write_table(tmp_path / "curation" / "quality.csv", Table(data, windows), ["quality"])
    return tmp_path


def test_good_windows_are_left_and_joined_within_an_episode():
    episodes = np.array([[0, 20], [20, 30], [30, 60], [60, 72]])
    windows = np.array([[0, 10], [10, 20], [20, 30], [40, 50], [50, 60], [60, 72]])
    assert covered(episodes, windows).tolist() == [[0, 20], [20, 30], [40, 60], [60, 72]]
    # episodes that were cut since: only what is in them
    assert covered(np.array([[5, 15], [45, 55]]), windows).tolist() == [[5, 15], [45, 55]]
    assert covered(episodes, windows[:0]).tolist() == []


def test_training_sees_the_good_rows_alone(scored):
    assert rows(module(scored).train_dataset) == set(range(72))
    data = module(scored, min_quality=2.5)
    assert rows(data.train_dataset) == set(range(30, 72)) and data.kept == {"train": (42, 72)}
    assert rows(data.val_dataset) == rows(module(scored).val_dataset)
    for clip in data.train_dataset:
        assert len(clip["frames"][:, 0].unique()) == 1  # the episode
    joined = module(scored, min_quality=3.5, num_frames=20)  # 40 to 60, over two windows
    assert rows(joined.train_dataset) == set(range(40, 60))


def test_other_splits_are_filtered_where_it_is_asked_for(scored):
    with pytest.raises(UserError, match=r"quality.csv is of train, not of val: run `python -m genie.curate`"):
        module(scored, min_quality=2, quality_splits=["train", "val"])


def test_one_file_has_scores_however_it_is_cut(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "all.h5", [10] * 20)
    windows = {Window("all", n * 10, n * 10 + 10): {"quality": str(n % 2)} for n in range(20)}
    table = Table({"all": identity(EpisodeReader(path, (8, 8)))}, windows)
    write_table(tmp_path / "all_curation" / "quality.csv", table, ["quality"])
    for holdout in (0.1, 0.2):
        data = module(path, holdout=holdout, min_quality=1, quality_splits=["train", "val"])
        for split in ("train", "val"):
            assert {row // 10 % 2 for row in rows(data.datasets[split])} == {1}


def test_scores_of_the_same_frames_at_another_size_hold(pong_root, tmp_path):
    reader = EpisodeReader(pong_root / "train.h5", (64, 64))
    windows = {Window("train", 0, reader.num_frames): {"quality": "4"}}
    write_table(tmp_path / "q.csv", Table({"train": identity(reader)}, windows), ["quality"])
    settings = {"quality": str(tmp_path / "q.csv"), "min_quality": 4}
    assert module(pong_root, image_size=(40, 56), **settings).kept == {"train": (600, 600)}
    # as many frames of another recording are other data
    with h5py.File(pong_root / "train.h5") as file, h5py.File(tmp_path / "train.h5", "w") as other:
        other["frames"] = np.roll(file["frames"][:], 7, axis=0)
    (tmp_path / "val.h5").write_bytes((tmp_path / "train.h5").read_bytes())
    with pytest.raises(UserError, match="q.csv is of other frames than those of .*train.h5"):
        module(tmp_path, image_size=(64, 64), **settings)


def test_scores_that_cannot_be_used_are_one_line(scored):
    path = scored / "curation" / "quality.csv"
    text = path.read_text()

    def says(match, changed=text, **settings):
        path.write_text(changed)
        with pytest.raises(UserError, match=match) as raised:
            module(scored, **{"min_quality": 2} | settings)
        assert "\n" not in str(raised.value)

    says(r"min_quality=6.5 leaves nothing of train: the best of .*quality.csv is 6.00", min_quality=6.5)
    says(r"no clip for train .*min_quality=2 leaves 52 of 72 frames, at most 30 in a row: lower it", num_frames=31)
    says(r"there is no .*other.csv: `python -m genie.curate` writes it", quality=str(scored / "other.csv"))
    says(r"first line of .* does not say", "# hello\n" + text)
    says(r"has windows without a quality: rate clips", text.replace("10,20,1", "10,20,"))
    says(r"no window: train,ten,20,1", text.replace("10,20,1", "ten,20,1"))
    says(r"no column quality", text.replace("stop,quality", "stop,q"))
    origin = path.with_name("quality.data.json")
    origin.write_text(origin.read_text().replace('"rows": 72', '"rows": 73'))
    says(r"is of 73 frames, .*train.h5 has 72")
    origin.write_text("[]")
    says(r"quality.data.json does not say of which data the table is")
    origin.unlink()
    says(r"quality.csv does not say of which data it is: copy quality.data.json, which was written beside it, or run")


def test_scores_of_an_earlier_version_are_read(scored):
    """They have one file, whose first line says of which data it is; what is beside it is of no matter then."""
    path, origin = scored / "curation" / "quality.csv", scored / "curation" / "quality.data.json"
    path.write_text(f"# {origin.read_text()}\n{path.read_text()}")
    origin.write_text('{"val": {"rows": 1, "look": ""}}')
    assert rows(module(scored, min_quality=2.5).train_dataset) == set(range(30, 72))
    path.write_text(path.read_text().replace('"rows": 72', '"rows": 73'))
    with pytest.raises(UserError, match="is of 73 frames"):
        module(scored, min_quality=2.5)


def test_other_programs_read_the_table_and_write_it(scored):
    path = scored / "curation" / "quality.csv"
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 7 and table[1] == {"part": "train", "first": "10", "stop": "20", "quality": "1"}
    for row in table:
        row["quality"] = row["quality"].replace("6", "0")
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet does
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    assert rows(module(scored, min_quality=2.5).train_dataset) == set(range(30, 60))


def test_a_table_whose_writing_was_cut_short_is_of_no_data(tmp_path, monkeypatch):
    """It would else be taken for the table of those data that the one before was of."""
    path, windows = tmp_path / "t.csv", {Window("all", 0, 5): {"a": "1"}}
    one, other = ({"all": {"rows": rows, "look": "AAAA"}} for rows in (5, 6))
    write_table(path, Table(one, windows), ["a"])
    monkeypatch.setattr(json, "dumps", lambda data: "no" + "\ud800")  # what cannot be written
    with pytest.raises(UnicodeEncodeError):
        write_table(path, Table(other, windows), ["a"])
    assert read_table(path, ["a"]) == Table({}, windows)


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = Table({"val": {"rows": 5, "look": "AAAA"}}, {Window("val", 0, 5): {"a": "x, y", "b": ""}})
    write_table(tmp_path / "t.csv", table, ["a", "b"])
    assert read_table(tmp_path / "t.csv", ["a", "b"]) == table
    with pytest.raises(UserError, match="cannot write .*output="):
        write_table(tmp_path / "t.csv" / "below.csv", table, ["a", "b"])


def test_scores_of_data_at_an_address_are_beside_the_command():
    assert curation_folder("s3://bucket/data/mine/") == Path("mine_curation")
    with pytest.raises(UserError, match=r"there is no mine_curation/quality.csv: `python -m genie.curate` writes it"):
        GoodWindows(None, 3, ["train"]).of({}, "s3://bucket/data/mine")
