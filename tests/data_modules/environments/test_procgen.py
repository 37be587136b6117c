"""Procgen's games: a seed is a level, splits share none, and what is recorded can be played again."""

import h5py
import numpy as np
import pytest

from data_modules.environments import open_environment
from genie.agents.act import episode_seed
from genie.record import main

pytest.importorskip("envpool", reason="the extra procgen is not installed")

SMALL = ["data.recorder.num_frames.train=130", "data.recorder.num_frames.val=40", "data.recorder.num_frames.test=40",
         "data.recorder.max_episode_steps=60"]  # fmt: skip
SETTINGS = {"env": {"id": "Procgen/CoinrunEasy-v0", "kwargs": {}, "options": None}, "observe": "frames"}
SETTINGS |= dict.fromkeys(("actions", "action_names", "crop", "fps"))


def play(environment, seed, actions):
    return np.stack([environment.reset(seed), *(environment.step(action)[0] for action in actions)])


def test_a_seed_is_a_level():
    environment = open_environment(SETTINGS, (64, 64))
    assert environment.action_space.n == 15 and environment.fps == 15
    assert environment.action_meanings[:3] == ["left_down", "left", "left_up"]
    moves = [7] * 10 + [8] * 10
    first, other, again = (play(environment, seed, moves) for seed in (3, 4, 3))
    assert first.shape == (21, 64, 64, 3) and np.array_equal(first, again) and not np.array_equal(first[0], other[0])
    assert not np.array_equal(first, play(environment, 3, [4] * 20))  # actions count
    environment.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, record_with):
    return record_with(tmp_path_factory.mktemp("coinrun") / "files", "data=coinrun", *SMALL)


def test_every_split_has_levels_of_its_own(recorded):
    seeds = {}
    for split in ("train", "val", "test"):
        with h5py.File(recorded / f"{split}.h5") as file:
            seeds[split] = file["seeds"][:].tolist()
            assert len(file["episode_ends"]) == len(seeds[split]) and file["frames"].shape[1:] == (64, 64, 3)
            assert file["actions"][:].max() <= 14
    assert seeds == {"train": [0, 1, 2], "val": [10000], "test": [11000]}


def test_a_recording_is_played_again(recorded, capsys):
    from genie.datasets.replay import Comparison, Recorded

    file = Recorded("train", recorded / "train.h5", {"recorder": None})
    for episode in range(3):
        played = Comparison(file, episode)
        assert len(list(played)) == len(played.rows) and played.difference is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.recorder.levels.val=[9000,2000]"], "train and val share the levels from 9000 on"),
        (["data.recorder.levels.test=[5,1]"], "share the levels from 5 on"),
        (["data.recorder.levels.train=[0]"], "must be [first level, number of levels]"),
        (["data.recorder.levels.train=[0,0]"], "must be [first level, number of levels]"),
        (["+data.recorder.env.kwargs.start_level=4"], "the seed of a reset is the number of its level"),
        (
            ["data.recorder.action_groups.left=[left,lft]"],
            "left: there is no action 'lft'; there is: left_down",
        ),
        (["data.recorder.action_groups.jump=[up,left]"], "'left' is in left and in jump"),
        (["data.recorder.policy.weights={rihgt: 1}"], "weights: there is no action 'rihgt'; there is: left_down"),
        (["data.recorder.policy.weights={right: 0}"], "no action has a weight above 0"),
        (["data.recorder.policy.weights={right: -1}"], "weights.right=-1"),
        (["env.id=Procgen/CoinRun-v0"], "no environment 'Procgen/CoinRun-v0'; similar ones: Procgen/Coinrun"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(run_main, tmp_path, overrides, words):
    code, _, err = run_main(main, "data=coinrun", f"data.root={tmp_path / 'files'}", *SMALL, *overrides)
    assert code == 2 and words in err and err.strip().count("\n") == 0
    assert not list(tmp_path.glob("**/*.h5"))


def test_another_game_keeps_the_levels_and_another_environment_has_none(record_with, tmp_path):
    root = record_with(tmp_path / "ninja", "data=coinrun", "env.id=Procgen/NinjaEasy-v0", *SMALL)
    with h5py.File(root / "val.h5") as file:
        assert file["seeds"][:].tolist() == [10000]
    root = record_with(tmp_path / "pong", "data=coinrun", "env.id=ALE/Pong-v5", *SMALL)
    with h5py.File(root / "val.h5") as file:
        assert file["seeds"][:].tolist() != [10000]


def test_another_seed_plays_other_levels(record_with, tmp_path):
    root = record_with(tmp_path / "other", "data=coinrun", "data.recorder.seed=1", *SMALL)
    with h5py.File(root / "train.h5") as file:
        seeds = file["seeds"][:].tolist()
    assert seeds != [0, 1, 2] and all(0 <= seed < 10000 for seed in seeds)


def test_weighted_random_play(record_with, tmp_path):
    weights = "data.recorder.policy.weights={right: 3, right_up: 1}"
    root = record_with(tmp_path / "runner", "data=coinrun", weights, "data.recorder.policy.hold=1", *SMALL)
    with h5py.File(root / "train.h5") as file:
        actions = np.delete(file["actions"][:], file["episode_ends"][:] - 1)
    assert set(actions.tolist()) == {7, 8} and 0.6 < (actions == 7).mean() < 0.9


def test_an_agent_plays_levels_of_the_test_split():
    levels = {"train": [0, 100], "val": [100, 5], "test": [200, 10]}
    assert [episode_seed(0, number, levels) for number in range(11)] == [*range(200, 210), 200]
    other = {episode_seed(1, number, levels) for number in range(10)}
    assert other == set(range(200, 210)) and episode_seed(1, 0, levels) != 200
    assert episode_seed(0, 1) != episode_seed(0, 1, levels)
