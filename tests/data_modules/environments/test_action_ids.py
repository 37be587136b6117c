"""What becomes of the ids of actions in files: one number of one list of actions, or one line."""

import h5py
import numpy as np
import pytest

from data_modules.clip_data_module import ClipDataModule
from genie.common.errors import UserError
from genie.datasets.inspect import data_facts

LENGTH = 12


@pytest.fixture
def write(tmp_path, write_episodes):
    """write(name, ids, names=None): an episode file of episodes of LENGTH frames; `ids` of all rows."""

    def start(name, ids, names=None):
        path = write_episodes(tmp_path / name, [LENGTH] * (len(ids) // LENGTH))
        with h5py.File(path, "a") as file:
            del file["actions"]
            file["actions"] = np.asarray(ids)
            if names is not None:
                file.attrs["action_meanings"] = names
        return path

    return start


def module(root, **settings):
    data = ClipDataModule(str(root), (8, 8), **{"num_frames": 4, "batch_size": 2, **settings})
    data.setup()
    return data


def shares(data, split="train"):
    return data_facts(data, 4)["splits"][split]["actions"]


IDS = np.arange(6 * LENGTH) % 3
NAMES = ["left", "right", "up"]


@pytest.mark.parametrize(
    ("ids", "names", "says"),
    [
        (np.where(IDS == 2, -1, IDS), None, "have the ids -1, 0, 1: if -1 stands for no action, data.actions.none=-1"),
        (np.where(IDS == 2, -1, IDS), NAMES, "if -1 stands for no action, data.actions.none=-1"),
        (
            IDS + 1,
            NAMES,
            "have the ids 1, 2, 3, and 3 actions are named .*: if ids count from 1, data.actions.offset=1",
        ),
        (IDS, NAMES[:2], "and 2 actions are named .left, right.: .*give data.actions.names=.* with 3 names"),
        (np.where(IDS == 2, 255, IDS), None, "3 different ids up to 255 .* data.actions.none=255 .*count=256"),
        (np.where(IDS == 2, 10**9, IDS), None, "up to 1000000000"),
        (np.where(IDS == 2, np.uint64(2**64 - 1), IDS.astype(np.uint64)), None, "up to 18446744073709551615"),
        (IDS, "left,right,up", "is one text, 'left,right,up', and no list of names: .*data.actions.names"),
        (IDS, 3, "is 3, and no list of names"),
        (IDS, ["left", "left", "up"], "names two actions 'left'"),
        (np.eye(3)[IDS].astype(np.float32), None, "one-hot.*argmax"),
        (np.eye(3)[IDS].astype(int), None, "one-hot.*argmax"),
        (IDS.astype(float), None, "ids are whole numbers"),
    ],
)
def test_ids_and_names_that_do_not_fit_are_one_line_with_the_way_out(write, ids, names, says):
    path = write("mine.h5", ids, names)
    with pytest.raises(UserError, match=says) as raised:
        module(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("count", [2, 5])
def test_a_count_beside_other_names_is_one_line(write, count):
    path = write("mine.h5", IDS, NAMES)
    with pytest.raises(UserError, match=f"data.actions.count={count}, and .* names 3 actions .left, right, up."):
        module(path, actions={"count": count})
    assert module(path, actions={"count": 3}).info.num_actions == 3


def test_the_way_out_works(write):
    from_one = module(write("one.h5", IDS + 1, NAMES), actions={"offset": 1})
    assert (from_one.info.num_actions, from_one.info.action_meanings) == (3, NAMES)
    assert from_one.train_dataset[0]["actions"].tolist() == [0, 1, 2, 0]
    more = module(write("more.h5", IDS, NAMES[:2]), actions={"names": NAMES})
    assert sum(shares(more).values()) == pytest.approx(1) and shares(more)["up"] > 0
    for number, names in enumerate(["left,right,up", 3, ["left", "left", "up"]]):
        assert module(write(f"{number}.h5", IDS, names), actions={"names": NAMES}).info.action_meanings == NAMES
    sparse = module(write("sparse.h5", np.where(IDS == 2, 255, IDS)), actions={"count": 256})
    assert sparse.info.num_actions == 256


def test_names_as_json_are_read(write):
    assert module(write("mine.h5", IDS, '["left", "right", "up"]')).info.action_meanings == NAMES


def test_clips_with_a_step_of_no_action_are_left_out(write):
    ids = IDS.copy()
    ids[[5, 20, 40]] = -1
    data = module(write("mine.h5", ids), actions={"none": -1}, val_clips=None)
    assert data.info.num_actions == 3 and sum(shares(data).values()) == pytest.approx(1)
    starts = [data.train_dataset.location(number)[0] for number in range(len(data.train_dataset))]
    reader, episodes = data.splits["train"]
    last = episodes[-1, 1]
    allowed = [
        row for row in range(last - 3) if row % LENGTH <= LENGTH - 4 and not {row, row + 1, row + 2} & {5, 20, 40}
    ]
    assert starts == allowed and 2 in starts  # a clip may end on the frame on which nothing is known to be done
    for number in range(len(starts)):
        np.testing.assert_array_equal(
            data.train_dataset[number]["actions"][:3], ids[starts[number] : starts[number] + 3]
        )


def test_what_the_last_rows_hold_is_no_action(write):
    ids = IDS.copy()
    ids[LENGTH - 1 :: LENGTH] = -1
    data = module(write("mine.h5", ids))
    assert data.info.num_actions == 3
    row = LENGTH - 4
    assert data.train_dataset[row]["actions"].tolist() == [*ids[row : row + 3], 0]


def test_the_number_of_actions_is_that_of_all_splits(write, tmp_path):
    write("data/train.h5", IDS % 2)
    write("data/val.h5", IDS)
    data = module(tmp_path / "data")
    assert data.info.num_actions == 3 and set(shares(data)) == {"0", "1", "2"}
    assert int(max(clip["actions"].max() for clip in data.val_dataset)) == 2


def test_names_in_another_order_are_one_line_or_read_by_name(write, tmp_path):
    for split, names in (("train", NAMES), ("val", ["up", "left", "right"])):
        write(f"data/{split}.h5", IDS, names)
    with pytest.raises(UserError, match=r"train.h5 names its actions left, right, up, .*val.h5 up, left, right: "):
        module(tmp_path / "data")
    data = module(tmp_path / "data", actions={"names": NAMES})
    assert data.val_dataset[0]["actions"].tolist() == [2, 0, 1, 2]  # up, left, right, up
    assert data.train_dataset[0]["actions"].tolist() == [0, 1, 2, 0]
    with pytest.raises(UserError, match="has an action 'right', and there are up, left, north, by data.actions.names"):
        module(tmp_path / "data", actions={"names": ["up", "left", "north"]})


def test_a_file_without_names_beside_one_with_names_is_one_line(write, tmp_path):
    write("data/a.h5", IDS, NAMES)
    write("data/b.h5", IDS)
    with pytest.raises(UserError, match=r"b.h5 does not: .* give data.actions.names=\[left,right,up\]"):
        module(tmp_path / "data")
    assert module(tmp_path / "data", actions={"names": NAMES}).info.num_actions == 3


def test_ids_that_may_count_from_1_are_said(write, capsys):
    path = write("mine.h5", IDS + 1)
    assert module(path).info.num_actions == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no action has the id 0: if ids count from 1, give data.actions.offset=1" in said
    assert module(path, actions={"offset": 1}).info.num_actions == 3 and not capsys.readouterr().err


def test_ids_are_converted_as_they_are_read(write, tmp_path):
    from genie.datasets.convert import make_plan, write_part

    ids = IDS + 1
    ids[5] = 0
    root = str(write("mine.h5", ids))
    data = {"root": root, "image_size": (8, 8), "num_frames": 4, "batch_size": 2, "actions": {"offset": 1, "none": 0}}
    plan = make_plan(data, in_one=True)
    assert plan.recordings[0].episodes == ((0, 6), (6, LENGTH))
    assert write_part(plan.readers[0], plan.recordings[0], tmp_path / "part.h5", 10) is None
    with h5py.File(tmp_path / "part.h5") as file:
        np.testing.assert_array_equal(file["actions"][:5], IDS[:5])
        assert file["episode_ends"][:].tolist() == [6, LENGTH]


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        ({"names": "left,right"}, "must be a list of names"),
        ({"names": []}, "must be a list of names"),
        ({"names": ["a", "a"]}, "has 'a' twice"),
        ({"names": ["a", "b"], "count": 3}, "leave one out"),
        ({"first": 1}, "data.actions has no key first"),
    ],
)
def test_options_that_cannot_be_are_one_line(tmp_path, actions, says):
    with pytest.raises(UserError, match=says):
        ClipDataModule(str(tmp_path), (8, 8), 4, 2, actions=actions)
