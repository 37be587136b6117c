"""The stage as the command trains it: on a real recording, resumed, and in a world that has changed since."""

import sys
from types import SimpleNamespace

import pytest
import torch
from hydra import initialize_config_module

from genie.agents.agents import load_policy
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.runs.folder import RunFolder
from genie.runs.loading import read_checkpoint
from genie.runs.metrics_file import read_metrics
from genie.training.train import train


@pytest.fixture
def world(line_world, monkeypatch):
    """A world for frames: the point is where the picture is bright. Any run folder holds it."""

    class BrightWorld(line_world):
        observation_shape = (3, 64, 64)

        def reset(self, observations, actions=None, seed=0):
            assert actions is None or actions.shape == observations.shape[:2][:1] + (observations.shape[1] - 1,)
            return super().reset(self.trace(observations), None, seed)

        def trace(self, observations, actions=None):
            return 50 * (observations.mean((2, 3, 4)) - 0.35)[..., None]

    made = BrightWorld()
    made.opened = 0

    def open_world(run, kind):
        made.opened += 1
        return made

    monkeypatch.setitem(sys.modules, "genie.world.opening", SimpleNamespace(open_world=open_world))
    return made


@pytest.fixture
def configure(tmp_path, pong_root):
    """configure(*overrides): of a run of six steps with the learning rate of each of them."""

    def build(*overrides):
        settings = ["stage=policy", "debug=fast", "trainer.max_steps=6", "schedule=constant",
                    "policy.network.width=16", "trainer.limit_val_batches=1", f"data.root={pong_root}",
                    f"output_dir={tmp_path}", *overrides]  # fmt: skip
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("train", settings)

    return build


def weights(config):
    return torch.load(RunFolder(config).last, weights_only=True)["state_dict"]


def test_a_resumed_run_is_that_of_no_interruption(world, configure, capsys):
    short = "policy.horizon=3"
    whole, parts = configure("name=whole", short), configure("name=parts", short, "trainer.max_steps=3")
    train(whole)
    assert world.opened == 1  # a world takes memory, and time to be read
    train(parts)
    parts = configure("name=parts", short, "resume=true")
    train(parts)
    first, second = weights(whole), weights(parts)
    assert {"objective.range.distance", "objective.slow.head.linear.weight"} <= set(first)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    rows = [
        [row for row in read_metrics(RunFolder(config).metrics) if "train/loss" in row] for config in (whole, parts)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    returns = {row["step"]: row["val/imagined_return"] for row in read_metrics(RunFolder(whole).metrics)
               if "val/imagined_return" in row}  # fmt: skip
    best = read_checkpoint(RunFolder(whole).checkpoints / "best.ckpt")
    assert whole["callbacks"]["checkpoint"]["monitor"] == "val/imagined_return"
    assert len(returns) > 1 and best["global_step"] == max(returns, key=returns.get)  # not that of the lowest loss
    slow, fast = first["objective.slow.head.linear.bias"], first["model.critic.head.linear.bias"]
    assert slow.any() and not torch.equal(slow, fast)

    world.goal = 0.1  # trained further
    with pytest.raises(UserError, match="stage.world holds other weights"):
        train(configure("name=parts", short, "resume=true", "trainer.max_steps=7"))
    train(configure("name=parts", short, "resume=true", "trainer.max_steps=7", "stage.follow_world=true"))
    assert load_policy(RunFolder(parts).path, world).trained.trained_steps == 7


def test_cloning_of_a_real_recording(world, configure):
    config = configure("policy=behaviour_cloning", "trainer.max_steps=2")
    assert config["callbacks"]["checkpoint"]["monitor"] == "val/loss"
    train(config)
    assert any(
        {"val/accuracy", "val/accuracy_majority"} <= row.keys() for row in read_metrics(RunFolder(config).metrics)
    )
    load_policy(RunFolder(config).path, world)
    seen = read_checkpoint(RunFolder(config).last)["state_dict"]["objective.num_seen"]
    assert seen == 2 * 4 * 3  # steps, clips, actions that lead from one frame to another
    with pytest.raises(UserError, match="trainer=fsdp is for models"):
        train(configure("name=sharded", "trainer=fsdp_cpu"))
