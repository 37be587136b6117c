"""`python -m genie.train stage=simulator` from real data to a world, stopped and gone on with, and exported."""

import shutil
from unittest import mock

import h5py
import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from data_modules.clip_data_module import ClipDataModule
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.evaluation.evaluate import evaluate_runs
from genie.publishing.export import export
from genie.runs.metrics_file import read_metrics
from genie.training.resume import take_over_names
from genie.training.train import train
from genie.world.simulator_world import SimulatorWorld


@pytest.fixture(scope="module")
def composed(pong_root):
    def build(command, *overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            return resolved(command, list(overrides))

    return build


@pytest.fixture(scope="module")
def configure(composed, pong_root, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("simulators")
    fixed = ("stage=simulator", "debug=fast", "schedule=constant", f"data.root={pong_root}", f"output_dir={outputs}")
    return lambda *overrides: composed("train", *fixed, *overrides)


@pytest.fixture(scope="module", autouse=True)
def no_plots():
    """They are tested elsewhere and take most of the time."""
    with mock.patch("callbacks.metrics_csv.plot_metrics"):
        yield


@pytest.fixture(scope="module")
def run(configure, no_plots):
    """A run of five steps."""
    config = configure("name=whole")
    train(config)
    return config


def folder(config):
    from genie.runs.folder import RunFolder

    return RunFolder(config)


def test_later_data_are_read_by_the_names_of_the_actions_that_were_learned(run, pong_root, tmp_path):
    saved = torch.load(folder(run).last, weights_only=True)["hyper_parameters"]["config"]
    assert saved["data"]["actions"]["names"] == ["noop", "up", "down"]
    for split in ("train", "val"):
        shutil.copy(pong_root / f"{split}.h5", tmp_path)
        with h5py.File(tmp_path / f"{split}.h5", "a") as file:
            file["actions"][:] = (file["actions"][:] + 1) % 3
            file.attrs["action_meanings"] = ["down", "noop", "up"]
    data = ClipDataModule(**saved["data"] | {"root": str(tmp_path)})
    data.setup()
    before = ClipDataModule(**saved["data"])
    before.setup()
    assert data.info.action_meanings == ["noop", "up", "down"]
    for number in range(len(data.val_dataset)):
        assert torch.equal(data.val_dataset[number]["actions"], before.val_dataset[number]["actions"])
    resumed = {"data": {"actions": {"names": None, "offset": 0}}}
    take_over_names(resumed, {"hyper_parameters": {"config": saved}})
    assert resumed["data"]["actions"] == {"names": ["noop", "up", "down"], "offset": 0}


def test_a_training_takes_its_sizes_from_the_data_and_says_how_far_it_sees(run):
    saved = torch.load(folder(run).last, weights_only=True)
    assert saved["hyper_parameters"]["config"]["simulator"]["sizes"]["num_actions"] == 3
    rows = read_metrics(folder(run).metrics)
    last = [row for row in rows if "val/loss" in row][-1]
    wanted = {"psnr", "psnr_copy_last", "kl", "prior_entropy", "posterior_entropy", "reward_error", "continue_accuracy"}
    wanted |= {f"imagined_psnr{name}_{end}" for name in ("", "_copy_last", "_background") for end in ("h1", "mean")}
    assert {f"val/{name}" for name in wanted} <= set(last)
    assert last["val/imagined_psnr_copy_last_mean"] > 25 and "val/kl_loss_weighted" in last


def test_an_evaluation_takes_it(run, composed, tmp_path):
    few = ["num_clips=3", "horizon=3", "reward.clips=4", "side_by_side.clips=1", "side_by_side.horizon=4"]
    few += [f"run={folder(run).path.parent}", f"output={tmp_path}", "device=cpu"]
    few += ["delta_psnr.t=[1]", "parts=[prediction,reward,side_by_side]"]
    values = evaluate_runs(composed("evaluate", *few))[0].values
    assert values["left_out"] == {} and "token_error_mean" not in values["prediction"]
    copied = values["prediction"]["pixel_error_copy_last_by_horizon"]
    assert 0 < values["prediction"]["pixel_error_mean"] < 0.1 and len(copied) == 3 and copied[2] > 0
    assert values["reward"]["reached"]["segments"] == 4 and (tmp_path / "side_by_side.mp4").is_file()


def test_a_run_goes_on_as_if_it_had_not_been_stopped(run, configure):
    train(configure("name=parts", "trainer.max_steps=3"))
    last = configure("name=parts", "resume=true")
    train(last)
    parts, whole = (torch.load(folder(config).last, weights_only=True) for config in (last, run))
    assert parts["global_step"] == whole["global_step"] == 5
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_another_model_is_refused_by_its_key(run, configure):
    with pytest.raises(UserError, match=r"simulator\.model\.groups \(16 there, 8 now\)"):
        train(configure("name=whole", "resume=true", "trainer.max_steps=6", "simulator.model.groups=8"))


def test_an_exported_simulator_is_the_same_world(run, composed, tmp_path):
    trained = folder(run).path.parent
    export(composed("export", f"run={trained}", f"output={tmp_path / 'world'}"))
    assert SimulatorWorld.load(tmp_path / "world").fingerprint() == SimulatorWorld.load(trained).fingerprint()
    assert "A light simulator (`rssm`) for frames" in (tmp_path / "world" / "README.md").read_text()
