"""Procgen's games: a seed is a level, splits share none, and what is recorded can be played again."""

import h5py
import numpy as np
import pytest

from data_modules.environments import open_environment
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
