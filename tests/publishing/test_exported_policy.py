"""Policies are exported with the world that they were trained in, and refused to any other."""

import shutil

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.agents.agents import load_policy
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.publishing.export import export
from genie.stages import build_stage
from genie.stages.policy import PolicyStage
from genie.world.opening import open_world


def exporting(run, output, *overrides):
    """The names of the stages that were exported."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved("export", [f"run={run}", f"output={output}", *overrides])
    return [path.stem for path in export(config)]


def save(stage, run):
    checkpoint = {"state_dict": stage.state_dict(), "hyper_parameters": {"config": stage.config}, "global_step": 3}
    stage.on_save_checkpoint(checkpoint)
    folder = run / stage.options["name"] / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, folder / "last.ckpt")


@pytest.fixture(scope="module")
def run(build_simulator, configure, tmp_path_factory):
    """A run of a simulator of states and of a policy in it; nothing is trained."""
    path = tmp_path_factory.mktemp("run")
    save(build_simulator("delta"), path)
    world = open_world(path)
    sizes = ["policy.network.width=16", "policy.network.num_layers=1", f"stage.world={path}"]
    config = configure("policy", "policy=actor_critic", *sizes)
    config["stage"] |= PolicyStage.describe(config, world)
    stage = build_stage(config)
    stage.use_world(world)
    with torch.no_grad():  # its heads begin at 0
        for parameter in stage.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    save(stage, path)
    return path


def chosen(path, world):
    """What the policy of `path` does and expects in some states."""
    policy = load_policy(path, world)
    state = world.reset(torch.randn(50, 1, 2, generator=torch.Generator().manual_seed(2)))
    return torch.cat([policy.choose(state, 3)[:, 0], policy.value(state)])


def test_it_does_the_same_wherever_it_is_loaded_from(run, tmp_path, capsys):
    assert exporting(run, tmp_path) == ["simulator", "policy"] and capsys.readouterr().err == ""
    expected, world = chosen(run, open_world(run)), open_world(tmp_path)
    assert len(expected.unique()) > 20
    for path in (tmp_path, tmp_path / "policy.safetensors"):
        assert torch.equal(chosen(path, world), expected) and torch.equal(chosen(path, open_world(run)), expected)
    card = (tmp_path / "README.md").read_text()
    assert "A light simulator (`delta`) for states" in card and "genie.act run=<this folder> policy=<this" in card


def test_rounded_it_belongs_to_the_rounded_world(run, tmp_path):
    exporting(run, tmp_path, "dtype=bf16")
    chosen(tmp_path, open_world(tmp_path))
    with pytest.raises(UserError, match="trained in another world"):
        load_policy(tmp_path, open_world(run))


def test_one_of_another_world_is_left_out(run, build_simulator, tmp_path, capsys):
    shutil.copytree(run / "policy", tmp_path / "run" / "policy")
    other = build_simulator("delta", "seed=5")
    save(other, tmp_path / "run")
    assert exporting(tmp_path / "run", tmp_path / "out") == ["simulator"]
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "without the policy" in err and "trained in another world" in err
    assert "policy=" not in (tmp_path / "out" / "README.md").read_text()
