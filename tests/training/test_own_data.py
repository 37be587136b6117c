"""Data as people have them, from the command to a trained world: LeRobot's, videos with actions, tar shards."""

import json
import tarfile
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.convert import main as convert
from genie.inspect import main as inspect
from genie.runs.folder import RunFolder
from genie.training.train import train

pytestmark = pytest.mark.slow
pytest.importorskip("pyarrow")

WRITTEN = Path(__file__).parents[1] / "data_modules" / "formats" / "lerobot" / "v3.0.tar.xz"
RANGE = [[0, 50], [0, 13], [64, 90]]  # of the actions in it
SMALL = ["data.image_size=[16,16]", "data.num_frames=4", "data.num_workers=0"]
TINY = [*SMALL, "debug=fast", "model.tokenizer.patch_size=4", "data.batch_size=2", "data.val_clips=2",
        "callbacks.rollouts.every_n_train_steps=0", "trainer.val_check_interval=3"]  # fmt: skip


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    """The overrides for a data set of LeRobot's."""
    folder = tmp_path_factory.mktemp("robot")
    with tarfile.open(WRITTEN) as archive:
        archive.extractall(folder, filter="data")
    return ["data=lerobot", f"data.root={folder / 'v3.0'}", "data.lerobot.camera=front"]


@pytest.fixture(scope="module")
def run(robot, tmp_path_factory):
    """run(name, *overrides): the folder of a training of three steps on them."""
    outputs = tmp_path_factory.mktemp("outputs")

    def start(name, *overrides):
        given = [*robot, *TINY, "trainer.max_steps=3", f"output_dir={outputs}", f"name={name}", *overrides]
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("train", given)
        train(config)
        return RunFolder(config)

    return start


def saved(folder):
    return torch.load(folder.last, weights_only=True)


def test_a_world_of_binned_actions_trains_and_keeps_them(run):
    run("world", "stage=tokenizer")
    clusters = ["data.actions.clusters=3", "model.dynamics.num_actions=3"]
    folder = run("world", "stage=dynamics", "stage.actions=environment", *clusters)
    actions = saved(folder)["hyper_parameters"]["config"]["data"]["actions"]
    assert len(actions["clusters"]) == len(actions["names"]) == 3 and len(actions["clusters"][0]) == 3
    assert actions["range"] == RANGE  # of the numbers that the centroids are among


@pytest.mark.parametrize(
    "overrides", [["stage=tokenizer"], ["stage=simulator", "simulator=rssm", "simulator.objective.continues=0"]]
)
def test_a_resumed_run_sees_what_it_would_have_seen(run, overrides):
    """The simulator learns what numbers do, and rewards; LeRobot's data say of no end whether it was one."""
    name = overrides[0].partition("=")[2]
    whole = saved(run(f"whole-{name}", *overrides))
    run(f"parts-{name}", *overrides, "trainer.max_steps=2")
    parts = saved(run(f"parts-{name}", *overrides, "resume=true"))
    assert parts["global_step"] == whole["global_step"] == 3
    for key, weight in whole["state_dict"].items():
        assert torch.equal(weight, parts["state_dict"][key]), key
    if name == "simulator":
        kept = whole["hyper_parameters"]["config"]["data"]["actions"]
        assert kept["range"] == RANGE and kept["names"] == ["pan", "lift", "grip"]


def test_it_is_inspected_and_converted(run_main, robot, tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_main(inspect, *robot, *SMALL, "output=look", "num_videos=1")
    assert code == 0, err
    facts = json.loads((tmp_path / "look" / "inspect.json").read_text())
    train_facts = facts["splits"]["train"]
    assert train_facts["tasks"] == {"push the cube": 2, "lift the cube": 2} and "task push the cube" in out
    assert train_facts["action_numbers"]["lift"]["units"] == [0, 13] and "(-1 is 0, 1 is 13)" in out
    code, out, err = run_main(convert, *robot, "data.image_size=[48,64]", "output=all.h5", "num_workers=0")
    assert code == 0 and "converted 6 recordings, 6 episodes, 71 frames, 48x64 at 30 fps" in out, err
    made = load(tmp_path / "all.h5")
    assert made["states"][:, 0].tolist() == list(range(71)) and made["actions"].shape == (71, 3)
    clusters = [*robot, "data.actions.clusters=3", "data.image_size=[16,16]", "output=ids.h5", "num_workers=0"]
    code, _, err = run_main(convert, *clusters)
    assert code == 0 and sorted(set(load(tmp_path / "ids.h5")["actions"].tolist())) == [0, 1, 2], err
    code, _, err = run_main(inspect, *robot[:2], *SMALL)
    assert code == 2 and err.startswith("error: there are several cameras in ") and len(err.splitlines()) == 1
