"""A reward model goes with the world that it was trained on: it is found, used, exported, and refused to others."""

import shutil
from contextlib import redirect_stdout

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.publishing.export import export
from genie.runs.loading import load_model
from genie.runs.metrics_file import read_metrics
from genie.training.train import train
from genie.world.environment import GenieEnv
from genie.world.world_model import WorldModel


def composed(command, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved(command, list(overrides))


@pytest.fixture(scope="module")
def rewarded(world_run, pong_root, tmp_path_factory):
    """(a copy of the tiny world with a reward model of 4 steps in it, the overrides of its training)."""
    outputs = tmp_path_factory.mktemp("rewarded")
    run = shutil.copytree(world_run, outputs / "world", ignore=shutil.ignore_patterns("evaluation", "media"))
    given = ["stage=reward", "debug=fast", f"data.root={pong_root}", f"output_dir={outputs}", "name=world"]
    given += ["trainer.max_steps=4", "reward.network.width=16"]
    with open(run / "printed.txt", "w") as file, redirect_stdout(file):
        train(composed("train", *given))
    return run, given


@pytest.fixture(scope="module")
def world(rewarded):
    return WorldModel.load(rewarded[0])


def test_training_finds_the_world_and_says_how_it_goes(rewarded, world):
    run, _ = rewarded
    stage = load_model(run / "reward" / "checkpoints" / "last.ckpt")
    assert stage.fingerprints == {"world": world.fingerprint()}
    assert tuple(stage.options["feature_shape"]) == world.feature_shape
    names = {name for row in read_metrics(run / "reward" / "metrics.csv") for name in row}
    panels = composed("dashboard").sections
    shown = {name for section in panels if section["stages"] == ["reward"] for panel in section["panels"]
             for name in panel["metrics"]}  # fmt: skip
    lines = (run / "printed.txt").read_text().splitlines()
    said = [line.split(": ")[1] for line in lines if line.startswith("not measured: ")]
    unmeasured = {f"val/{name}" for line in said for name in line.split(", ")}  # these clips have no such case
    assert len(shown) > 10 and shown | {"train/reward_loss", "val/terminal_recall"} <= names | unmeasured
    assert {"train/reward_loss", "val/reward_mse"} <= names


def test_a_loaded_world_has_its_rewards(rewarded, world, monkeypatch):
    assert world.knows_rewards
    frames = torch.rand(2, 3, *world.observation_shape)
    _, step = world.step(world.reset(frames), torch.tensor([0, 1]))
    judged = world.reward_model(world.features(world.reset(frames)))
    assert judged.reward.shape == step.reward.shape and (judged.continues < 1).all() and (step.continues < 1).all()
    env = GenieEnv(world=world)
    _, info = env.reset(seed=0)
    assert info["has_reward_model"]
    _, reward, terminated, _, _ = env.step(1)
    state = env._state
    expected = world.reward_model(world.features(state))
    assert reward == pytest.approx(expected.reward.item(), abs=1e-3) and not terminated


def test_a_reward_of_another_world_is_not_used(rewarded, capsys, tmp_path):
    run = shutil.copytree(rewarded[0], tmp_path / "run")
    file = run / "dynamics" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"]["model.to_logits.bias"][0] += 1  # trained on
    torch.save(checkpoint, file)
    for name in file.parent.glob("*.json"):
        name.unlink()
    assert not WorldModel.load(run).knows_rewards
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "was trained on another world" in err and "stage=reward" in err
    files = export(composed("export", f"run={run}", f"output={tmp_path / 'out'}"))
    err = capsys.readouterr().err
    assert [file.stem for file in files] == ["tokenizer", "lam", "dynamics"]
    assert err.count("\n") == 1 and "without the reward" in err and "trained in another world" in err


def test_resuming_gives_the_uninterrupted_run(rewarded, tmp_path):
    run, given = rewarded
    again = [*given, f"output_dir={tmp_path}", f"stage.world={run}"]
    train(composed("train", *again, "trainer.max_steps=2", "schedule=constant"))
    train(composed("train", *again, "trainer.max_steps=4", "schedule=constant", "resume=true"))
    train(composed("train", *again, "trainer.max_steps=4", "schedule=constant", "name=whole"))
    first, second = (
        load_model(tmp_path / name / "reward" / "checkpoints" / "last.ckpt").state_dict() for name in ("world", "whole")
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with pytest.raises(UserError, match="cannot resume.*reward.name .state there, trajectory now"):
        train(composed("train", *again, "reward=trajectory", "trainer.max_steps=6", "resume=true"))


@pytest.mark.parametrize("dtype", ["null", "bf16"])
def test_an_exported_world_keeps_its_rewards(rewarded, world, tmp_path, dtype, capsys):
    files = export(composed("export", f"run={rewarded[0]}", f"output={tmp_path / 'out'}", f"dtype={dtype}"))
    assert [file.stem for file in files] == ["tokenizer", "lam", "dynamics", "reward"]
    loaded = WorldModel.load(tmp_path / "out")
    assert loaded.knows_rewards and capsys.readouterr().err == ""
    assert (loaded.fingerprint() == world.fingerprint()) == (dtype == "null")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| `reward.safetensors` |" in text and "A [Genie]" in text
    reward = rewarded[0] / "reward" / "checkpoints" / "last.ckpt"
    export(composed("export", f"checkpoint={reward}", f"output={tmp_path / 'alone'}"))
    assert "A reward model (`state`) on a world for frames" in (tmp_path / "alone" / "README.md").read_text()
