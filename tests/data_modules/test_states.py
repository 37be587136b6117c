"""States, and actions that are numbers: clips, facts, conversion and inspection; and what is for pictures alone."""

import json

import h5py
import numpy as np
import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from genie.common.errors import UserError
from genie.convert import main as convert
from genie.inspect import main as inspect
from genie.labeling.windows import WindowedData

LENGTHS = [9, 7, 12, 8, 10]


@pytest.fixture
def write_states(tmp_path):
    """write_states(name, lengths, **columns): a path; row r has the state (r, -r, 5), the action (r / 100)."""

    def write(name="all.h5", lengths=LENGTHS, **columns):
        path, row = tmp_path / name, np.arange(sum(lengths))
        path.parent.mkdir(parents=True, exist_ok=True)
        given = {
            "states": np.stack([row, -row, np.full_like(row, 5)], 1).astype(np.float64),
            "actions": (row / 100)[:, None].astype(np.float32),
            "rewards": row.astype(np.float32),
            "episode_ends": np.cumsum(lengths),
        }
        with h5py.File(path, "w") as file:
            for key, values in (given | columns).items():
                file[key] = values
            file.attrs["fps"], file.attrs["action_meanings"] = 20, ["push"]
        return path

    return write


def module(path, **settings):
    data = ClipDataModule(str(path), (64, 64), **{"num_frames": 4, "batch_size": 3, **settings})
    data.setup()
    return data


def test_a_clip_is_its_rows_with_actions_as_numbers(write_states):
    clips = module(write_states(), stride=2).train_dataset
    for index in range(len(clips)):
        clip, (row, end) = clips[index], clips.location(index)
        rows = np.arange(row, row + 7, 2)
        assert rows[-1] < end and "frames" not in clip
        assert clip["states"].dtype == clip["actions"].dtype == torch.float32
        np.testing.assert_array_equal(clip["states"], np.stack([rows, -rows, np.full(4, 5)], 1))
        np.testing.assert_array_equal(clip["actions"], (rows / 100).astype(np.float32)[:, None])
        assert clip["rewards"][:3].tolist() == [2 * r + 1 for r in rows[:3]]  # of both decisions
        assert float(clip["fps"]) == 10


def test_batches_are_a_function_of_seed_and_step(write_states):
    path = write_states()
    one, two = (module(path, seed=3).train_dataloader() for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert first["states"].shape == (3, 4, 3) and first["actions"].shape == (3, 4, 1)
        for name in first:
            assert torch.equal(first[name], second[name])
    other = next(iter(module(path, seed=4).train_dataloader()))
    assert not torch.equal(other["index"], next(iter(one))["index"])


def test_facts_are_of_the_training_split(write_states):
    data = module(write_states())
    info, episodes = data.info, data.splits["train"][1]
    rows = np.concatenate([np.arange(*pair) for pair in episodes])
    assert len(rows) < sum(LENGTHS)
    assert (info.num_actions, info.action_size, info.action_meanings) == (None, 1, ["push"])
    assert info.image_size is None and info.background is None
    np.testing.assert_allclose(info.state_mean, [rows.mean(), -rows.mean(), 5], rtol=1e-6)
    np.testing.assert_allclose(info.state_std, [rows.std(), rows.std(), 1], rtol=1e-6)  # the last never changes
    ids = module(write_states("ids.h5", actions=np.zeros(sum(LENGTHS), int))).info
    assert ids.num_actions == 1 and ids.action_size is None  # `action_meanings` names one


def test_states_of_shards_are_those_of_one_file(write_states, tmp_path):
    whole = module(write_states(lengths=[12] * 4)).splits["train"][0]
    for number in range(4):
        write_states(f"shards/{number}.h5", [12])
    shards = module(tmp_path / "shards").splits["train"][0]
    assert (shards.state_size, shards.action_size, shards.image_size) == (3, 1, None)
    np.testing.assert_array_equal(shards.column("states", 6, 30), np.tile(whole.column("states", 0, 12), (3, 1))[6:30])
    write_states("shards/4.h5", [12], actions=np.zeros(12, int))
    with pytest.raises(UserError, match="action_size"):
        module(tmp_path / "shards")


@pytest.mark.parametrize(
    ("columns", "settings", "says"),
    [
        (
            {"actions": np.full((46, 1), 1.5, np.float32)},
            {},
            r"have to be in \[-1, 1\] where they are numbers; row 0 is 1.5",
        ),
        ({"states": np.full((46, 1), np.nan)}, {}, "states in .* have to be finite numbers .*; row 0 is nan"),
        ({"states": np.zeros((45, 1))}, {}, "not one for each of the 45|do not rise"),
        ({}, {"augmentation": {"crop": 0.2}}, "changes pictures"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(write_states, columns, settings, says):
    with pytest.raises(UserError, match=says):
        module(write_states(**columns), **settings)


def test_a_file_of_a_newer_format_is_refused(write_states):
    path = write_states()
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(UserError, match="version 3; this release knows them up to 2"):
        module(path)


def test_rating_is_for_pictures(write_states):
    data = {"root": str(write_states()), "image_size": [64, 64], "num_frames": 4, "batch_size": 1}
    with pytest.raises(UserError, match="only pictures can be rated"):
        WindowedData(data)


def test_inspection_summarises_the_numbers(write_states, run_main, tmp_path):
    path = write_states(lengths=[10] * 5)
    given = [f"data.root={path}", "data.num_frames=4", f"output={tmp_path / 'look'}"]
    code, out, err = run_main(inspect, "data=episodes", *given)
    assert code == 0 and "states of 3 numbers" in " ".join(out.split()) and "action push" in out, err
    facts = json.loads((tmp_path / "look" / "inspect.json").read_text())
    train = facts["splits"]["train"]
    assert (facts["image_size"], facts["state_size"], facts["action_size"], train["frames"]) == (None, 3, 1, 30)
    assert train["states"]["1"] == pytest.approx({"min": -29, "max": 0, "mean": -14.5, "std": np.arange(30).std()})
    assert train["action_numbers"]["push"]["max"] == pytest.approx(0.28)  # on the last row nothing was decided
    assert [path.name for path in (tmp_path / "look").iterdir()] == ["inspect.json"]


def test_conversion_keeps_states_and_numbers(write_states, run_main, load, tmp_path):
    path, output = write_states(), tmp_path / "converted.h5"
    given = ["data=episodes", f"data.root={path}", "num_workers=0"]
    code, out, err = run_main(convert, *given, f"output={output}")
    assert code == 0 and "46 states at 20 fps" in out, err
    before, after = load(path), load(output)
    assert set(after) == set(before)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    code, _, err = run_main(convert, *given, "format=stream", f"output={tmp_path / 'stream'}")
    assert code == 2 and "needs format=episodes" in err and err.count("\n") == 1
