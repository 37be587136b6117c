"""LeRobot data sets, as the library writes them: rows, frames and actions are what was recorded; damage is said."""

import json
import shutil
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from data_modules.action_ids import ActionOptions
from data_modules.clip_data_module import ClipDataModule
from data_modules.formats import lerobot_rows
from data_modules.formats.lerobot import LeRobotData
from data_modules.frame_reader import Reading
from genie.common.errors import UserError

pytestmark = pytest.mark.slow
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

WRITTEN = Path(__file__).parent / "lerobot"  # by the library: `write.py` there says what is in it
VERSIONS = ["v3.0", "v3.0_images", "v2.1"]
LENGTHS = [12, 9, 15, 11, 10, 14]
STEPS = np.concatenate([np.arange(length) for length in LENGTHS])
EPISODES = np.repeat(np.arange(6), LENGTHS)
OPTIONS = {"camera": "front", "action": "auto", "state": "auto", "tasks": None}
DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def unpack(tmp_path):
    """unpack(version): the folder of a data set that the library wrote."""

    def start(version="v3.0"):
        with tarfile.open(WRITTEN / f"{version}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / version

    return start


def module(root, options=None, **changes):
    settings = {"image_size": (48, 64), "num_frames": 4, "batch_size": 2, "source": "lerobot", "on_error": "skip"}
    data = ClipDataModule(str(root), **settings | {"lerobot": OPTIONS | (options or {})} | changes)
    data.setup()
    return data


def reader_of(root, options=None, on_error="skip", image_size=(48, 64), **actions):
    reading = Reading(image_size, "squeeze", None, False, on_error, ActionOptions.of(actions))
    return LeRobotData(reading, **OPTIONS | (options or {})).open_named(str(root))[0]


def change(path, column, edit):
    """Writes a column of a Parquet file anew: `edit` of its values, which are a list."""
    table = parquet.read_table(path)
    values = table.column(column).to_pylist()
    edit(values)
    number = table.schema.get_field_index(column)
    parquet.write_table(table.set_column(number, column, pa.array(values, table.schema.field(column).type)), path)


def change_info(root, **values):
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_are_those_of_the_rows(unpack, read_numbers, version):
    root = unpack(version)
    reader = reader_of(root)
    assert reader.num_frames == 71 and np.diff(reader.episodes)[:, 0].tolist() == LENGTHS
    assert read_numbers(reader.frames(0, 71)) == list(range(71))
    for start, stop, step in ((70, 71, 1), (3, 60, 5), (11, 13, 1), (30, 69, 13)):
        assert read_numbers(reader.frames(start, stop, step)) == list(range(start, stop, step))
    backwards = [read_numbers(reader.frames(row, row + 1))[0] for row in range(70, -1, -7)]
    assert backwards == list(range(70, -1, -7))
    wrist = reader_of(root, {"camera": "observation.images.wrist"}, image_size=(32, 32))
    assert read_numbers(255 - wrist.frames(0, 71)) == list(range(71)) and wrist.stored_sizes == [(32, 32)]


@pytest.mark.parametrize("version", VERSIONS)
def test_columns_are_those_of_the_rows(unpack, version):
    reader = reader_of(unpack(version))
    assert reader.columns == ["states", "actions", "rewards"] and (reader.state_size, reader.action_size) == (3, 3)
    assert reader.fps == 30 and reader.action_meanings == ["pan", "lift", "grip"] and reader.ids is None
    assert [task.split()[0] for task in reader.tasks] == ["push", "lift"] * 3
    states = np.stack([np.arange(71), STEPS, -STEPS], 1)
    np.testing.assert_array_equal(reader.column("states", 5, 71), states[5:])
    assert reader.action_range.tolist() == [[0, 50], [0, 13], [64, 90]]  # of decisions: all steps but the last
    scaled = np.stack([10 * EPISODES / 25 - 1, STEPS / 6.5 - 1, (90 - 2 * STEPS - 77) / 13], 1)
    actions = reader.column("actions", 0, 71)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions, scaled.clip(-1, 1), atol=1e-6)
    given = reader_of(reader.path, range=[[-100, 100], [0, 20], [0, 90]])
    np.testing.assert_allclose(given.column("actions", 12, 14), [[0.1, -1, 1], [0.1, -0.9, 88 / 45 - 1]], atol=1e-6)


def test_what_followed_the_last_row_counts_with_the_one_before(unpack):
    reader = reader_of(unpack())
    rewards = reader.column("rewards", 0, 71)
    assert rewards[:13].tolist() == [*range(10), 21, 0, 0] and rewards.sum() == STEPS.sum()
    for start in range(71):
        for stop in (start + 1, min(start + 4, 71)):
            np.testing.assert_array_equal(reader.column("rewards", start, stop), rewards[start:stop])


def test_changes_are_those_within_an_episode(unpack):
    reader = reader_of(unpack(), change=True)
    assert reader.action_range.tolist() == [[0, 0], [0, 1], [-2, 0]]
    actions = reader.column("actions", 0, 71)
    first = STEPS == 0
    assert (actions[:, 0] == 0).all() and (actions[first] == [0, -1, 1]).all() and (actions[~first] == [0, 1, -1]).all()
    np.testing.assert_array_equal(reader.column("actions", 13, 30), actions[13:30])


@pytest.mark.parametrize("version", VERSIONS)
def test_batches_depend_on_neither_workers_nor_the_index(unpack, version, monkeypatch):
    def batches(**changes):
        data = module(root, actions={"clusters": 5}, **changes)
        return [batch for loader in (data.train_dataloader(), data.val_dataloader()) for batch in loader]

    root = unpack(version)
    first = batches()
    monkeypatch.setattr(lerobot_rows, "_write", None)  # the index is there: nothing is read again
    for others in (batches(num_workers=2), batches()):
        assert len(others) == len(first) > 5
        for one, other in zip(first, others, strict=True):
            assert one.keys() == other.keys() >= {"frames", "states", "actions", "rewards"}
            for name in one:
                assert torch.equal(one[name], other[name])


def test_a_changed_file_is_read_again(unpack):
    root = unpack()
    reader_of(root)
    change(root / DATA, "action", lambda values: values.__setitem__(3, [70.0, 3.0, 84.0]))
    assert reader_of(root).action_range[0].tolist() == [0, 70]
    assert len(list(root.glob(".lerobot-*.h5"))) == 1


def test_splits_are_those_of_the_data_set_or_its_end(unpack):
    root = unpack()
    lengths = {split: len(part) for split, (_, part) in module(root).splits.items()}
    assert lengths == {"train": 4, "val": 1, "test": 1}
    change_info(root, splits={"train": "0:2", "validation": "2:5", "test": "5:6"})
    data = module(root)
    assert {split: part.tolist() for split, (_, part) in data.splits.items()} == {
        "train": [[0, 12], [12, 21]], "val": [[21, 36], [36, 47], [47, 57]], "test": [[57, 71]]
    }  # fmt: skip
    change_info(root, splits={"train": "0:5", "test": "5:6"})
    assert [part.tolist() for _, part in module(root).splits.values()][1:] == [[[57, 71]], [[47, 57]]]
    with pytest.raises(UserError, match=r"info.json has the split train 0 to 5, and no .first:end."):
        change_info(root, splits={"train": "0 to 5"})
        module(root)


def test_episodes_of_a_task_alone(unpack, read_numbers):
    reader = reader_of(unpack(), {"tasks": ["lift the cube"]})
    assert np.diff(reader.episodes)[:, 0].tolist() == LENGTHS[1::2] and set(reader.tasks) == {"lift the cube"}
    assert read_numbers(reader.frames(0, 34)) == np.flatnonzero(EPISODES % 2).tolist()
    np.testing.assert_array_equal(reader.column("states", 0, 34)[:, 0], np.flatnonzero(EPISODES % 2))
    with pytest.raises(UserError, match="data.lerobot.tasks has 'jump', and the tasks of .* are lift the cube, push"):
        reader_of(reader.path, {"tasks": ["jump"]})


def test_one_whole_number_is_an_id(unpack):
    root = unpack()
    features = json.loads((root / "meta/info.json").read_text())["features"]
    change_info(root, features=features | {"action": {"dtype": "int64", "shape": [1], "names": None}})
    table = parquet.read_table(root / DATA)
    number = table.schema.get_field_index("action")
    parquet.write_table(table.set_column(number, "action", pa.array(STEPS % 3)), root / DATA)
    reader = reader_of(root, names=["stay", "left", "right"])
    assert reader.action_meanings == ["stay", "left", "right"] and reader.action_size is None
    np.testing.assert_array_equal(reader.column("actions", 0, 71), STEPS % 3)
    with pytest.raises(UserError, match="have the ids 0, 1, 2, and 2 actions are named"):
        reader_of(root, names=["stay", "left"])


def test_states_and_actions_may_be_left_out_or_others(unpack):
    root = unpack()
    assert reader_of(root, {"state": None, "action": None}).columns == ["rewards"]
    reader = reader_of(root, {"state": "action", "action": "observation.state"})
    assert reader.column("states", 12, 13).tolist() == [[10, 0, 90]]
    with pytest.raises(
        UserError, match="state=nothing: nothing is no feature of .*; vectors of numbers are obs.*action"
    ):
        reader_of(root, {"state": "nothing"})
    with pytest.raises(UserError, match=r"action=observation.images.front: .* is video \[48, 64, 3\]"):
        reader_of(root, {"action": "observation.images.front"})


def test_without_a_camera_there_are_states_alone(unpack):
    root = unpack()
    features = json.loads((root / "meta/info.json").read_text())["features"]
    change_info(root, features={key: one for key, one in features.items() if "images" not in key})
    data = module(root, {"camera": None})
    assert "frames" not in data.train_dataset[0] and data.info.image_size is None
    with pytest.raises(UserError, match="has no camera and no observation.state: its features are observation.state"):
        reader_of(root, {"camera": None, "state": None})


@pytest.mark.parametrize(("camera", "says"), [
    (None, "there are several cameras in .*: its cameras are observation.images.front, observation.images.wrist: give"),
    ("top", "there is no data.lerobot.camera=top in .*: its cameras are observation.images.front, "),
])  # fmt: skip
def test_a_camera_has_to_be_chosen(unpack, camera, says):
    with pytest.raises(UserError, match=says):
        reader_of(unpack(), {"camera": camera})


def test_the_only_camera_is_taken_by_itself(unpack, read_numbers):
    root = unpack()
    features = json.loads((root / "meta/info.json").read_text())["features"]
    del features["observation.images.wrist"]
    change_info(root, features=features)
    assert read_numbers(reader_of(root, {"camera": None}).frames(40, 44)) == [40, 41, 42, 43]


def set_value(column, row, value):
    return lambda root: change(root / DATA, column, lambda values: values.__setitem__(row, value))


def cut(path, share=0.5):
    def damage(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(len(content) * share)])

    return damage


def drop_rows(root):
    table = parquet.read_table(root / DATA)
    parquet.write_table(table.slice(0, 68), root / DATA)


def longer(root):
    change(root / "meta/episodes/chunk-000/file-000.parquet", "length", lambda values: values.__setitem__(1, 10))


VIDEO = "videos/observation.images.front/chunk-000/file-001.mp4"
DAMAGED = {  # what is done: (episodes that are left out, what is said)
    "no video": (lambda root: (root / VIDEO).unlink(), [5], rf"{VIDEO} cannot be read \(it is not there\)"),
    "cut video": (cut(VIDEO), [5], rf"{VIDEO} cannot be read \(.+\)"),
    "short video": (
        lambda root: shutil.copy(root / VIDEO, root / VIDEO.replace("001", "000")), [1, 2, 3, 4],
        r"file-000.mp4 has no frame at 0.467 seconds, for the frame 2 \(row 14 of .*file-000.parquet\); it has 14, up",
    ),
    "cut rows": (drop_rows, [5], rf"{DATA} has 11 rows of it, and .*meta says 14"),
    "wrong length": (longer, [1], rf"{DATA} has 9 rows of it, and .*meta says 10"),
    "nan": (set_value("action", 13, [10.0, np.nan, 88.0]), [1], rf"{DATA}, row 13: action is nan, and has to be fin"),
    "inf": (set_value("observation.state", 40, [np.inf, 1.0, 1.0]), [3], "row 40: observation.state is inf, and has"),
    "frame twice": (set_value("frame_index", 23, 1), [2], rf"{DATA}, row 23: frame_index 1 is there twice"),
    "frame beyond": (set_value("frame_index", 35, 99), [2], rf"{DATA}, row 35: frame_index 99 where 14 has to be"),
    "time back": (set_value("timestamp", 50, 0.01), [4], rf"{DATA}, row 50: timestamp 0.01 comes after 0.0666667"),
    "time apart": (set_value("timestamp", 70, 9.0), [5], "has no frame at 9.000 seconds, for the frame 13"),
    "one frame twice": (set_value("timestamp", 70, 0.401), [5], "has no frame at 0.401 seconds, for the frame 13"),
    "torn": (set_value("episode_index", 30, 4), [2, 4], r"row \d+: rows of the episode \d are in two places"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_episodes_that_cannot_be_used_are_named_and_left_out(unpack, capsys, read_numbers, what):
    damage, lost, says = DAMAGED[what]
    root = unpack()
    damage(root)
    reader = reader_of(root)
    said = capsys.readouterr().err
    rows = np.flatnonzero(~np.isin(EPISODES, lost))
    assert reader.column("states", 0, reader.num_frames)[:, 0].tolist() == rows.tolist()
    assert read_numbers(reader.frames(len(rows) - 2, len(rows))) == rows[-2:].tolist()
    assert f"{len(lost)} of 6 episodes cannot be used and are left out" in said
    with pytest.raises(UserError, match=f"^episode {lost[0]}: .*{says}.*; {len(lost)} of 6 episodes in") as raised:
        reader_of(root, on_error="raise")
    assert "\n" not in str(raised.value)


def broken(path, content):
    return lambda root: (root / path).write_text(content)


REFUSED = {
    "cut parquet": (cut(DATA), rf"{DATA} cannot be read \(Parquet magic bytes not found"),
    "garbled": (broken(DATA, "nonsense" * 99), rf"{DATA} cannot be read \(Parquet magic bytes not found"),
    "no column": (
        lambda root: parquet.write_table(parquet.read_table(root / DATA).drop_columns("action"), root / DATA),
        r"it has no column action, only observation.state, next.reward",
    ),
    "no numbers": (
        lambda root: change_info(root, features={
            **json.loads((root / "meta/info.json").read_text())["features"],
            "action": {"dtype": "float32", "shape": [4], "names": None},
        }), r"row 0 of the column action has 3 numbers, not 4",
    ),
    "version": (lambda root: change_info(root, codebase_version="v4.0"), "codebase_version v4.0, known are 2.0, 2.1"),
    "old version": (lambda root: change_info(root, codebase_version="v1.6"), "v1.6, .*: LeRobot's scripts convert it"),
    "fps": (lambda root: change_info(root, fps=0), r"info.json has fps 0: it has to be the frames of a second"),
    "features": (lambda root: change_info(root, features=[1]), r"info.json has features \[1\]: each has a dtype and"),
    "pattern": (lambda root: change_info(root, data_path="{x}"), "has the data_path {x}, which is no pattern of paths"),
    "no path": (lambda root: change_info(root, video_path="\ud800"), "has video_path .*, and no pattern of paths"),
    "no info": (lambda root: (root / "meta/info.json").unlink(), "there is no .*info.json: give data.root="),
    "info": (broken("meta/info.json", '{"fps": 3'), "cannot read .*info.json: Expecting"),
    "no episodes": (lambda root: shutil.rmtree(root / "meta/episodes"), "there are no Parquet files in .*episodes:"),
    "episodes": (cut("meta/episodes/chunk-000/file-000.parquet"), "episodes.*file-000.parquet cannot be read: Parquet"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_one_line(unpack, what):
    damage, says = REFUSED[what]
    root = unpack()
    damage(root)
    with pytest.raises(UserError, match=says) as raised:
        reader_of(root)
    assert "\n" not in str(raised.value)


def test_episodes_of_version_2_in_json_lines(unpack):
    root = unpack("v2.1")
    path = root / "meta" / "episodes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], '{"episode_index": 2}']))
    with pytest.raises(UserError, match=r"episodes.jsonl, line 3 has no episode_index and length: .*2\}"):
        reader_of(root)
    path.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match="meta has the episode 1 twice"):
        reader_of(root)
    path.write_text("\n".join([*lines, "{"]))
    with pytest.raises(UserError, match="episodes.jsonl, line 7 is no JSON object"):
        reader_of(root)


def test_without_pyarrow_it_is_one_line(unpack, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match=r"data=lerobot needs the package pyarrow: pip install 'genie-world\[lerobot\]'"
    ):
        reader_of(unpack())


def test_a_clip_reads_its_own_rows_and_no_others(tmp_path):
    """Of 200,000 rows in one group, 20 MB of numbers, neither the index nor a clip takes all into memory."""
    rows, size = 200_000, 24
    numbers = pa.array(np.arange(rows * size, dtype=np.float32))
    steps = np.arange(rows) % 1000
    table = pa.table({
        "observation.state": pa.FixedSizeListArray.from_arrays(numbers, size),
        "timestamp": (steps / 10).astype(np.float32), "frame_index": steps, "episode_index": np.arange(rows) // 1000,
    })  # fmt: skip
    for path in ("data/chunk-000", "meta/episodes/chunk-000"):
        (tmp_path / path).mkdir(parents=True)
    parquet.write_table(table, tmp_path / DATA, row_group_size=rows)
    count = rows // 1000
    episodes = {"episode_index": range(count), "length": [1000] * count, "tasks": [["walk"]] * count}
    zeros = {name: [0] * count for name in ("data/chunk_index", "data/file_index")}
    parquet.write_table(pa.table({**episodes, **zeros}), tmp_path / "meta/episodes/chunk-000/file-000.parquet")
    info = {"codebase_version": "v3.0", "fps": 10, "data_path": DATA, "video_path": None,
            "features": {"observation.state": {"dtype": "float32", "shape": [size], "names": None}}}  # fmt: skip
    (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
    tracemalloc.start()
    try:
        reader = reader_of(tmp_path, {"camera": None})
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found = reader.column("states", 150_500, 150_516)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert found[:, 0].tolist() == [size * row for row in range(150_500, 150_516)]
    assert peak < 100_000 and built < rows * size * 4
