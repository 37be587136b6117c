"""Numbers as ids: k-means finds the actions that there are, the same in every process and for all later data."""

import h5py
import numpy as np
import pytest

from data_modules.action_clusters import names_of
from data_modules.action_ids import same_actions
from data_modules.clip_data_module import ClipDataModule
from genie.common.errors import UserError
from genie.datasets.inspect import data_facts

CENTRES = np.array([[0, 0], [0.8, 0], [-0.8, 0], [0, 0.6]])


@pytest.fixture
def write(tmp_path, write_episodes):
    """write(name, kinds): an episode file of episodes of 20 frames, whose actions are about `CENTRES` of `kinds`."""

    def start(name, kinds, seed=0):
        noise = np.random.default_rng(seed).normal(0, 0.03, (len(kinds), 2))
        path = write_episodes(tmp_path / name, [20] * (len(kinds) // 20))
        with h5py.File(path, "a") as file:
            del file["actions"]
            file["actions"] = (CENTRES[kinds] + noise).astype(np.float32)
            file.attrs["action_meanings"] = ["x", "y"]
        return path

    return start


def module(root, clusters=4, **actions):
    options = {"clusters": clusters} | actions
    data = ClipDataModule(str(root), (8, 8), num_frames=4, batch_size=2, actions=options)
    data.setup()
    return data


KINDS = np.random.default_rng(1).choice(4, 400, p=[0.5, 0.3, 0.15, 0.05])


def test_ids_are_those_of_the_centres_the_most_frequent_first(write):
    data = module(write("a.h5", KINDS))
    reader = data.splits["train"][0]
    np.testing.assert_array_equal(reader.column("actions", 0, 400), KINDS)
    np.testing.assert_allclose(data.info.action_clusters, CENTRES, atol=0.03)
    assert data.info.num_actions == 4 and data.info.action_size is None
    assert [name.split()[0] for name in data.info.action_meanings] == ["rest", "x", "x", "y"]
    assert data_facts(data, 4)["splits"]["train"]["actions"].keys() == set(data.info.action_meanings)
    again = module(write("b.h5", KINDS))
    assert again.info.action_options == data.info.action_options


def test_later_data_are_read_by_the_same_centres(write):
    first = module(write("a.h5", KINDS)).info
    others = np.random.default_rng(2).choice([3, 1], 400)  # there are two of the four
    then = same_actions({"clusters": 4, "names": None}, first.action_options)
    assert then["clusters"] == first.action_clusters
    later = module(write("b.h5", others), **then)
    np.testing.assert_array_equal(later.splits["train"][0].column("actions", 0, 400), others)
    assert later.info.action_meanings == first.action_meanings and later.info.num_actions == 4
    assert same_actions({"clusters": 8}, first.action_options)["clusters"] == 8
    assert same_actions({"clusters": 8}, {"names": None})["clusters"] == 8


def test_names_may_be_given(write):
    data = module(write("a.h5", KINDS), names=["stay", "right", "left", "up"])
    assert data.info.action_meanings == ["stay", "right", "left", "up"]
    with pytest.raises(UserError, match="have the ids 0, 1, 2, 3, and 2 actions are named"):
        module(data.root, names=["stay", "right"])


def test_names_differ():
    centroids = np.array([[0, 0], [0.5, 0.1], [0.5, -0.1], [-1, 0], [0.01, 0]])
    assert names_of(centroids, ["x", "y"]) == ["rest", "x +0.50", "x +0.50 (2)", "x -1.00", "rest (2)"]
    assert names_of(centroids[1:2], None) == ["0 +0.50"]


@pytest.mark.parametrize(("clusters", "says"), [
    (4, "clusters is for actions that are numbers: those of .* are ids already"),
    ([[1, 2], [3]], "must be a number, or a list of centroids of equally many numbers"),
])  # fmt: skip
def test_what_is_not_for_numbers_is_one_line(tmp_path, write_episodes, clusters, says):
    with pytest.raises(UserError, match=says):
        module(write_episodes(tmp_path / "a.h5", [40, 40, 40]), clusters)


def test_too_few_values_are_one_line(write, tmp_path, write_episodes):
    path = write("a.h5", KINDS)
    with h5py.File(path, "a") as file:
        file["actions"][:] = np.sign(file["actions"][:]) * (KINDS > 0)[:, None]
    with pytest.raises(UserError, match="clusters=40, and the actions of .* have . different values: give so many"):
        module(path, 40)
    with pytest.raises(UserError, match="centroids of 3 numbers, and the actions of .*a.h5 have 2"):
        module(path, [[0, 0, 0], [1, 1, 1]])
    with pytest.raises(UserError, match="those of .* are not recorded"):
        module(write_episodes(tmp_path / "b.h5", [40, 40, 40], only_frames=True))
    with pytest.raises(
        UserError, match="range and change are for numbers in units of their own: those of data.source=ep"
    ):
        module(path, None, range=[[0, 1], [0, 1]])
    with pytest.raises(UserError, match=r"data.actions.range has \[1, 0\]: give \[low, high\]"):
        module(path, None, range=[[1, 0]])
