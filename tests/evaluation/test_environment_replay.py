"""The environment that recorded the data as a perfect world: replayed exactly, branched, and what ΔPSNR that allows."""

import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hydra import initialize_config_module

from data_modules.environments import GymnasiumEnvironment
from data_modules.environments.episode_replay import EpisodeReplay
from data_modules.environments.recorder import build_recorder, episode_seed
from data_modules.held_out_clips import load_clips
from genie.common.cli import resolved
from genie.evaluation.environment_replay import evaluate_simulator
from genie.evaluation.rollout import RolloutSettings
from genie.evaluation.trained_run import LeftOut

pytestmark = pytest.mark.slow

STICKY = "data.recorder.env.kwargs.repeat_action_probability=0.25"
SETTINGS = RolloutSettings(prompt_frames=3, horizon=4, times=(1, 4), num_seeds=2, seed=0, fps=5)


def data_config(root, *overrides):
    """The group `data` of a training run on `root`."""
    with initialize_config_module("conf", version_base="1.3"):
        given = ["stage=tokenizer", f"data.root={root}", "data.batch_size=1", *overrides]
        return resolved("train", given)["data"]


def measure(config, num_clips=6, split="test"):
    clips = load_clips(config, None, split, num_clips, 7, batch_size=4)
    return evaluate_simulator(SimpleNamespace(data_config=config, checkpoints={}), clips, split, SETTINGS)


@pytest.fixture(scope="module")
def sticky_root(tmp_path_factory, record_with):
    """Pong whose console now and then repeats an action: what comes next depends on its random numbers too."""
    root = tmp_path_factory.mktemp("sticky")
    few = [f"data.recorder.num_frames.{split}=80" for split in ("train", "val", "test")]
    return record_with(root, *few, "data.recorder.max_episode_steps=39", STICKY)


@pytest.mark.parametrize("name", ["pong_root", "sticky_root"])
def test_an_episode_is_replayed_bit_for_bit_whatever_was_tried_on_the_way(name, request, load):
    root = request.getfixturevalue(name)
    config = data_config(root, *([STICKY] if name == "sticky_root" else []))
    data, recorder = load(root / "val.h5"), build_recorder(config["recorder"], [64, 64])
    first, end = data["episode_ends"][:2]  # the second episode
    frames, actions = data["frames"][first:end], data["actions"][first:end]
    replay = EpisodeReplay(recorder.environment, episode_seed(recorder.seed, "val", 1), actions)
    for frame in (3, 3, 12):
        replay.go_to(frame)
        true = actions[frame : frame + 8]
        other = replay.branch((true + 1) % 3)
        assert np.array_equal(replay.branch(true), frames[frame + 1 : frame + 9])
        assert not np.array_equal(other, frames[frame + 1 : frame + 9])
        assert np.array_equal(replay.branch((true + 1) % 3), other)
    assert np.array_equal(replay.branch(actions[12:20], stride=2), frames[14:21:2])


def test_random_actions_change_what_the_simulator_shows(pong_root):
    figures = measure(data_config(pong_root))
    assert figures["simulator_clips"] == 6
    assert figures["t4_simulator"] > figures["t1_simulator"] > 0 and figures["t4_simulator_pooled"] > 10


def test_random_actions_that_are_the_recorded_ones_change_nothing(pong_root, monkeypatch):
    config = data_config(pong_root)
    recorded = load_clips(config, None, "test", 2, 7, 4).actions[:, 2:6]
    monkeypatch.setattr("genie.evaluation.environment_replay.random_actions", lambda *_: recorded)
    figures = measure(config, num_clips=2)
    assert {value for name, value in figures.items() if name != "simulator_clips"} == {0}


def test_clips_at_a_stride_and_of_another_size_are_replayed_too(pong_root):
    figures = measure(data_config(pong_root, "data.stride=2", "data.image_size=[32,32]"), num_clips=2)
    assert figures["t4_simulator"] > 0


def test_a_file_that_says_how_it_was_recorded_needs_no_configuration_that_does(pong_root):
    config = data_config(pong_root)
    assert measure({**config, "recorder": None}, num_clips=2) == measure(config, num_clips=2)


def test_what_cannot_be_replayed_is_left_out(pong_root, monkeypatch, tmp_path):
    for name in ("train", "val", "test"):
        with h5py.File(shutil.copy(pong_root / f"{name}.h5", tmp_path), "r+") as file:
            del file.attrs["recorder"]  # as files were before they said so
    config = data_config(tmp_path)
    assert measure(config, num_clips=1)["simulator_clips"] == 1
    unknown = {**config, "recorder": None}
    with pytest.raises(LeftOut, match="does not say how it was recorded"):
        measure(unknown, num_clips=1)
    faster = {"id": "ALE/Pong-v5", "kwargs": {"frameskip": 4, "repeat_action_probability": 0.0}}
    with pytest.raises(LeftOut, match="shows other frames"):
        measure({**config, "recorder": {**config["recorder"], "env": faster}}, num_clips=1)
    missing = {"id": "ALE/Pang-v5", "kwargs": {}}
    with pytest.raises(LeftOut, match="cannot be made: no environment 'ALE/Pang-v5'"):
        measure({**config, "recorder": {**config["recorder"], "env": missing}}, num_clips=1)
    monkeypatch.setattr(GymnasiumEnvironment, "can_branch", False)
    with pytest.raises(LeftOut, match="only Atari"):
        measure(config, num_clips=1)
