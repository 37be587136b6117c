"""Going on with other settings, from damaged files and from files of strangers; what cannot be helped, in one line."""

import copy
import shutil

import pytest
import torch
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.runs.checkpoint_store import kept
from genie.runs.folder import RunFolder
from genie.runs.metrics_file import read_metrics, read_record
from genie.stages import build_stage
from genie.stages.tokenizer import TokenizerStage
from genie.training.resume import take_over_weighting
from genie.training.train import train

pytestmark = pytest.mark.slow

STILL = ["schedule=constant", "optimizer.lr=1.0e-30"]  # steps that change no weight
FEW = ["debug=fast", "ema=true", "trainer.limit_val_batches=1", "callbacks.rollouts.every_n_train_steps=0"]


@pytest.fixture(scope="module")
def configure(tmp_path_factory, pong_root):
    """configure(*overrides): of a run `run` of five steps, which is trained once, and of which a test has a copy."""
    outputs = tmp_path_factory.mktemp("outputs")

    def build(*overrides):
        with initialize_config_module("conf", version_base="1.3"):
            settings = [*FEW, f"data.root={pong_root}", f"output_dir={outputs}", "name=run", *overrides]
            return resolved("train", settings)

    return build


@pytest.fixture(scope="module")
def trained(configure):
    config = configure()
    train(config)
    return torch.load(RunFolder(config).last, weights_only=True)


@pytest.fixture
def run(configure, trained, tmp_path):
    """run(*overrides): the configuration with which the trained run goes on, in a folder of its own."""
    shutil.copytree(RunFolder(configure()).path, tmp_path / "run")
    return lambda *overrides: configure("trainer.max_steps=7", "resume=true", f"run_dir={tmp_path / 'run'}", *overrides)


def moments(checkpoint):
    return checkpoint["optimizer_states"][0]["state"][0]


def a_weight(state):
    return next(value for name, value in state.items() if name.endswith("projection.weight"))


def test_other_clips_to_a_step_keep_weights_optimizer_and_step(run, trained, capsys):
    """Batches of 150 clips of three frames: an epoch of 3 batches, of which five are behind the run."""
    config = run("data.batch_size=150", "data.num_frames=3", *STILL)
    train(config)
    said = capsys.readouterr().out
    assert "going on from step 5 of 7" in said
    assert "changed: data.batch_size 4 -> 150; not kept: which clips a step sees" in said
    assert "changed: data.num_frames 4 -> 3; not kept: the clips and their order" in said
    saved = torch.load(RunFolder(config).last, weights_only=True)
    assert saved["global_step"] == 7 and moments(saved)["step"] == 7
    assert torch.equal(a_weight(saved["current_model_state"]), a_weight(trained["current_model_state"]))
    assert [row["step"] for row in read_metrics(RunFolder(config).metrics) if "train/loss" in row] == list(range(1, 8))


@pytest.mark.parametrize("ema", [True, False])
def test_a_run_that_no_longer_averages_goes_on_from_its_weights(run, trained, ema):
    config = run(f"ema={str(ema).lower()}", *STILL)
    train(config)
    saved = torch.load(RunFolder(config).last, weights_only=True)
    assert ("current_model_state" in saved) == ema
    now = a_weight(saved["current_model_state" if ema else "state_dict"])
    assert torch.equal(now, a_weight(trained["current_model_state"]))
    assert not torch.equal(now, a_weight(trained["state_dict"]))


@pytest.mark.parametrize("began", [None, "target", "symmetric"])
def test_a_run_goes_on_with_the_weighting_it_began_with(run, trained, capsys, began):
    """None: the checkpoint is from before there was a choice, and weighs by the target."""
    weights = ["stage.foreground_weight=50", "stage.weighting=symmetric"]
    config = run(*weights, *STILL)
    checkpoint = copy.deepcopy(trained)
    stage = checkpoint["hyper_parameters"]["config"]["stage"]
    stage["weighting"] = began
    if began is None:
        del stage["weighting"]
    for path in kept(RunFolder(config).checkpoints):
        path.unlink()
    RunFolder(config).last.unlink()
    torch.save(checkpoint, RunFolder(config).last)
    train(config)
    said = capsys.readouterr().out
    saved = torch.load(RunFolder(config).last, weights_only=True)["hyper_parameters"]["config"]["stage"]["weighting"]
    assert saved == (began or "target")
    assert ("kept: stage.weighting target, with which it began, not symmetric" in said) == (saved == "target")


def test_every_weighting_of_pixels_is_kept():
    now = {"stage": {"weighting": "target", "lam": {"weighting": "symmetric"}}, "simulator": {"weighting": "symmetric"}}
    then = {"stage": {"lam": {}}, "simulator": {"weighting": "symmetric"}}
    kept_ones = take_over_weighting(now, {"hyper_parameters": {"config": then}})
    assert kept_ones == {"stage.lam.weighting": ("target", "symmetric")}
    assert now["stage"]["lam"]["weighting"] == "target" and now["simulator"]["weighting"] == "symmetric"
    others = {"stage": {"name": "policy"}, "simulator": None}
    assert take_over_weighting(others, {"hyper_parameters": {"config": {"stage": {}}}}) == {}
    assert take_over_weighting(now, None) == {}


def test_clips_longer_than_a_learned_table_are_one_line(configure):
    learned = "+model.tokenizer.transformer.temporal_positions=learned"
    build_stage(configure(learned, "data.num_frames=16"))
    build_stage(configure("data.num_frames=17"))  # rotary
    with pytest.raises(UserError, match=r"data\.num_frames=17: model\..* has learned positions for 16 frames"):
        build_stage(configure(learned, "data.num_frames=17"))


def test_all_that_tells_of_a_run_goes_back_with_it(run, capsys):
    """The newest checkpoint is damaged; the run goes back to the one before and arrives at the same figures."""
    whole = run()
    train(whole)
    folder, rows = RunFolder(whole), read_metrics(RunFolder(whole).metrics)
    former = int(kept(folder.checkpoints)[1].stem.split("-")[1])
    assert former == 6
    folder.last.write_bytes(folder.last.read_bytes()[:-1000])
    capsys.readouterr()
    train(run())
    said = capsys.readouterr()
    assert "going on from step 6 of 7" in said.out
    assert "last.ckpt is not a checkpoint of this project or is damaged" in said.err and "going back to" in said.err
    assert read_metrics(folder.metrics) == rows
    assert [start["to_step"] for start in read_record(folder.record)["starts"]] == [5, 6, 7]


def test_a_complete_run_whose_last_checkpoint_is_damaged_is_mended(run):
    folder = RunFolder(run())
    raw = folder.last.read_bytes()
    folder.last.unlink()
    folder.last.write_bytes(raw[:-1000])
    train(run("trainer.max_steps=5"))
    assert folder.last.read_bytes() == raw


ODD = {
    "no loops": {"loops": {}},
    "loops of a number": {"loops": {"fit_loop": 5}},
    "no optimizer": {"optimizer_states": []},
    "optimizer of a list": {"optimizer_states": [[1]]},
    "optimizer without groups": {"optimizer_states": [{"state": {}}]},
    "too many parameters": {"optimizer_states": [{"state": {10_000: {"exp_avg": torch.zeros(3)}}, "param_groups": []}]},
    "moments of another shape": {"optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}]},
    "moments of a text": {"optimizer_states": [{"state": {0: "x"}, "param_groups": []}]},
    "schedule of a number": {"lr_schedulers": [5]},
    "best of a number": {"callbacks": {"BestCheckpoint": 5}},
    "record of a number": {"callbacks": {"RunRecord": 5}},
    "bad steps of nothing": {"callbacks": {"BadSteps": {"x": 1}}},
    "weights of a number": {"state_dict": {"model.x": 4}},
    "weights that fill the memory": {"state_dict": {"model.x": torch.zeros(1).expand(10**12)}},
    "average of a number": {"current_model_state": 5},
    "average of other weights": {"current_model_state": {"x": torch.zeros(3)}},
    "configuration of nothing": {"hyper_parameters": {"config": {}}},
    "a model of nothing": {"hyper_parameters": {"config": {"model": None, "stage": 3}}},
}


@pytest.mark.parametrize("odd", ODD)
def test_a_checkpoint_of_a_stranger_is_one_line(run, trained, odd):
    config = run()
    folder = RunFolder(config)
    for path in kept(folder.checkpoints):
        path.unlink()
    torch.save(copy.copy(trained) | ODD[odd], folder.last)
    with pytest.raises(UserError) as raised:
        train(config)
    message = str(raised.value)
    assert "\n" not in message and 20 < len(message) < 700


def test_a_run_without_memory_is_told_what_helps(run, monkeypatch):
    def allocate(stage, batch):
        torch.empty(2**50)

    monkeypatch.setattr(TokenizerStage, "compute", allocate)
    with pytest.raises(RunError, match=r"^out of memory: give data\.batch_size=2 trainer\.accumulate=2, or ") as raised:
        train(run())
    assert "\n" not in str(raised.value)
