"""`genie.replay`: recordings of every kind of environment are played again, and prove to be the same or not."""

import copy
import functools
import json
import shutil

import h5py
import numpy as np
import pytest
from hydra import initialize_config_module

from data_modules.environments import open_environment
from data_modules.formats.episodes import Fingerprint, read_origin
from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.common.settings.schema import typed
from genie.datasets.replay import held_step
from genie.datasets.replay import replay as run
from genie.replay import main

pytestmark = pytest.mark.slow

SMALL = [f"data.recorder.num_frames.{split}={count}" for split, count in (("train", 2), ("val", 60), ("test", 2))]
WORLDS = {
    "pong": None,
    "minatar_breakout": "minatar",
    "pendulum": None,
    "cartpole_pixels": "pygame",
    "hopper": "mujoco",
    "cartpole_swingup": "dm_control",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, record_with):
    """recorded(name): the folder of a small recording of data=<name>, episodes of at most 31 frames; made once."""
    roots = {}

    def get(name):
        if WORLDS[name]:
            pytest.importorskip(WORLDS[name], reason=f"data={name} needs {WORLDS[name]}")
        if name not in roots:
            root = tmp_path_factory.mktemp(name)
            roots[name] = record_with(root, f"data={name}", *SMALL, "data.recorder.max_episode_steps=30")
        return roots[name]

    return get


@functools.cache
def _composed():
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("replay", ["data=episodes", "data.root=."]).plain()


@pytest.fixture
def replay():
    """replay(root, data={}, **settings): what the command says; raises what it would end with."""

    def start(root, data=None, **settings):
        config = copy.deepcopy(_composed()) | settings
        config["data"] |= {"root": str(root)} | (data or {})
        return run(typed("replay", config))

    return start


@pytest.mark.parametrize("name", WORLDS)
def test_a_replay_is_the_recording_and_another_action_is_noticed(name, recorded, replay, tmp_path, capsys):
    root = recorded(name)
    said = replay(root, split="val")
    with h5py.File(root / "val.h5") as file:
        count, observed = len(file["episode_ends"]), "states" if "states" in file else "frames"
        first = file[observed][: file["episode_ends"][0]]
        whole = Fingerprint()
        for part in (first[:7], first[7:]):
            whole.add(part)
        assert whole.hexdigest() == file["hashes"][0].decode()
    assert said == f"{count} of {count} episodes identical, frame by frame and by their hashes"

    changed = shutil.copy(root / "val.h5", tmp_path / "changed.h5")
    step = 2
    with h5py.File(changed, "a") as file:
        here = slice(step, step + 3)  # one alone may change nothing: a paddle stands at a wall
        actions = file["actions"][here]
        file["actions"][here] = -actions if actions.ndim > 1 else (actions + 1) % len(file.attrs["action_meanings"])
    with pytest.raises(RunError, match="episode 0 differs from step ") as raised:
        replay(changed)
    assert int(str(raised.value).split("from step ")[1].split()[0]) > step
    assert f"{count - 1} of {count} episodes identical\n" in capsys.readouterr().out
    origin = read_origin(changed)
    environment = open_environment(origin.settings, first.shape[1:3] if observed == "frames" else None)
    other = Fingerprint()
    other.add(environment.reset(int(origin.seeds[0]))[None])
    with h5py.File(changed) as file:
        for action in file["actions"][: len(first) - 1]:
            other.add(environment.step(action)[0][None])
    assert other.hexdigest() != origin.hashes[0]


def test_a_recording_from_before_episodes_began_with_the_game_is_replayed(record_with, replay, tmp_path):
    record_with(tmp_path, *SMALL, "data.recorder.max_episode_steps=30", "data.recorder.reset_screen=true")
    with h5py.File(tmp_path / "val.h5", "a") as file:
        settings = json.loads(file.attrs["recorder"])
        del settings["reset_screen"], settings["env"]["options"]
        file.attrs["recorder"] = json.dumps(settings)
    assert replay(tmp_path, split="val").startswith("2 of 2 episodes identical")


def test_a_file_that_was_changed_is_not_what_was_recorded(recorded, replay, tmp_path):
    path = shutil.copy(recorded("pendulum") / "val.h5", tmp_path / "val.h5")
    with h5py.File(path, "a") as file:
        file["states"][40] += 1
        file["hashes"][0] = file["hashes"][1]
    with pytest.raises(RunError, match="episode 0 has another hash.*and 1 more"):
        replay(path)
    with pytest.raises(RunError, match="episode 1 differs from step 9 on"):  # rows 31 to 60 are the second episode's
        replay(path, episodes=[1])


def test_the_command_ends_with_exit_code_1_and_names_the_step(recorded, run_main, tmp_path):
    path = shutil.copy(recorded("pendulum") / "val.h5", tmp_path / "val.h5")
    assert run_main(main, "data=episodes", f"data.root={path}")[0] == 0
    with h5py.File(path, "a") as file:
        file["actions"][3] *= -1
    code, out, err = run_main(main, "data=episodes", f"data.root={path}", "episodes=1")
    assert code == 1 and "0 of 1 episodes identical" in out and "episode 0 differs from step 4 on" in err


def test_a_recording_that_does_not_say_how_it_was_made_is_replayed_by_its_group(
    record_with, configure, replay, tmp_path
):
    """Such files are older than the choice of how an episode begins, which their group makes differently now."""
    record_with(tmp_path / "all", *SMALL, "data.recorder.max_episode_steps=30", "data.recorder.reset_screen=true")
    path = shutil.copy(tmp_path / "all" / "val.h5", tmp_path / "val.h5")
    with h5py.File(path, "a") as file:
        del file["seeds"], file["hashes"], file.attrs["recorder"]
    recorder = configure("tokenizer", "data=pong")["data"]["recorder"]
    said = replay(tmp_path, {"recorder": recorder}, episodes=1)
    assert said == "1 of 1 episodes identical, frame by frame: no hashes are stored"
    with pytest.raises(UserError, match="choose the data= that it was recorded with"):
        replay(tmp_path)
    recorder["env"]["kwargs"]["frameskip"] = 5
    with pytest.raises(RunError, match="differs from step"):
        replay(tmp_path, {"recorder": recorder}, episodes=1)


def test_videos_show_every_step_as_a_person_sees_it(recorded, replay, read_video, tmp_path):
    said = replay(recorded("pong"), split="val", episodes=[1], video=True, output=str(tmp_path))
    assert said.endswith(f"1 videos in {tmp_path}")
    frames, fps = read_video(tmp_path / "val_1.mp4")
    assert frames.shape == (29, 420, 320, 3) and fps == 10  # of 60 frames the first episode has 31


def test_an_episode_that_is_not_there_is_one_line(recorded, replay):
    with pytest.raises(UserError, match="episodes 0 … 1"):
        replay(recorded("pendulum"), split="val", episodes=[7])


def test_an_action_is_held_and_a_game_that_ends_is_followed_by_another():
    class Counting:
        """Shows how often it was stepped, for as much reward; ends with the fourth step."""

        def __init__(self):
            self.count, self.seeds = 0, []

        def step(self, action):
            self.count += 1
            return np.array(self.count), float(self.count), self.count == 4, False

        def reset(self, seed):
            self.count = 0
            self.seeds.append(seed)
            return np.array(-1)

    game = Counting()
    assert held_step(game, 2, 3, seed=5, number=0) == (3, 6.0)
    assert held_step(game, 2, 3, seed=5, number=1) == (
        -1,
        4.0,
    )  # nothing is done in the new game yet
    held_step(game, 2, 9, seed=5, number=2)
    assert len(set(game.seeds)) == 2 and all(0 <= seed < 2**31 for seed in game.seeds)
