"""The command: which stages, which clips, what is printed, written and refused; and the published training."""

import json

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.plan_memory import main
from genie.stages import GENIE_STAGES
from genie.training.memory_plan import plan_memory
from genie.training.memory_plan.activations import layout_of
from genie.training.memory_plan.plan import Batch, batch_of, plan_stage, work_of

pytestmark = pytest.mark.slow

TINY = ("model=debug", "data.image_size=[16,16]", "model.tokenizer.patch_size=4", "model.lam.patch_size=4")


@pytest.fixture
def composed():
    """composed(*overrides): the resolved configuration of plan_memory."""

    def build(*overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("plan_memory", list(overrides))

    return build


@pytest.fixture
def plan(run_main):
    """plan(*overrides): (exit code, stdout, stderr) of the command."""
    GlobalHydra.instance().clear()
    return lambda *overrides: run_main(main, *TINY, *overrides)


def test_all_stages_beside_each_other_and_in_a_file(plan, tmp_path):
    code, out, err = plan("trainer.devices=3", "ema=true", f"json={tmp_path / 'plan.json'}")
    assert code == 0 and err == "", err
    for word in (*GENIE_STAGES, "model=debug: ddp, 3 x H100", "optimiser state", "moving average", "fits"):
        assert word in out
    assert "2 clips x 3 devices make 6, the recipe has 4" in out and "data.batch_size=2" in out
    numbers = json.loads((tmp_path / "plan.json").read_text())
    assert numbers["hardware"]["memory_gib"] == 80 and list(numbers["stages"]) == list(GENIE_STAGES)
    memory = numbers["stages"]["lam"]["memory"]
    parts = ("parameters", "gradients", "optimizer", "average", "gathered", "frozen", "activations")
    assert memory["total"] == sum(memory[part] for part in parts)
    assert numbers["stages"]["lam"]["batch"] | {"step": 6, "clips": 2} == numbers["stages"]["lam"]["batch"]


def test_one_stage_with_the_users_clips_on_a_small_device(plan):
    code, out, err = plan("stage=dynamics", "data.batch_size=64", "hardware.memory_gib=0.001")
    assert code == 0 and "dynamics" in out and "cotrain" not in out and "lam" not in out, err
    assert "too much" in out and "64 clips x 1 devices make 64, the recipe has 4" in out


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.devices=-1"], "trainer.devices=-1: a plan needs a number"),
        (["trainer.strategy=deepspeed"], "trainer.strategy=deepspeed: there is a plan for auto, ddp and fsdp"),
        (["trainer.precision=64-true"], "trainer.precision=64-true: there is a plan for"),
        (["hardware.utilization=2"], "hardware.utilization=2 must be a number above 0 and at most 1"),
        (["json=."], "json=. is a folder"),
        (["stage=simulator"], "there is no plan for stage=simulator: choose one of tokenizer, lam, dynamics, cotrain"),
        (["hardware=h1000"], "there is no hardware=h1000; did you mean h100"),
    ],
)
def test_what_has_no_plan_is_one_line(plan, overrides, words):
    code, out, err = plan(*overrides)
    assert code == 2 and out == "" and words in err and err.count("\n") == 1, err


def test_layouts(composed):
    single = layout_of(composed())
    assert (single.strategy, single.devices, single.products) == ("single", 1, "bf16")
    several = layout_of(composed("trainer.devices=8", "trainer.num_nodes=4", "trainer.precision=32-true"))
    assert (several.strategy, several.devices, several.products) == ("ddp", 32, "fp32")
    given = {"strategy": "fsdp", "activation_checkpointing": True, "gather_precision": "bf16", "accumulate": 3}
    config = composed("trainer.precision=bf16-mixed")
    config["trainer"] |= given
    config["optimizer"]["cpu_offload"] = True
    sharded = layout_of(config)
    assert (sharded.strategy, sharded.gathered, sharded.parameters) == ("fsdp", "bf16", "fp32")
    assert sharded.checkpointing and sharded.offload and sharded.accumulate == 3
    config["trainer"] |= {"precision": "bf16-true", "gather_precision": None}
    assert layout_of(config).parameters == layout_of(config).gathered == "bf16"


def test_clips_and_operations_of_a_step(composed):
    config = composed(*TINY, "stage=dynamics", "recipe.dynamics.batch_size=10", "trainer.max_steps=7")
    assert batch_of(config, devices=2, accumulate=2, given=False) == Batch(3, 2, 2, 10, False)
    batch = batch_of(config, devices=3, accumulate=2, given=True)
    assert (batch.clips, batch.step) == (10, 60)
    # three passes for a step, four where blocks are run again, and one of the frozen stages
    work = work_of(config, batch, tokens_per_frame=16, forward=100, frozen=10, again=True, speed=1e3)
    assert (work.step, work.executed) == (6 * 310, 6 * 410)
    assert (work.training, work.tokens) == (7 * 6 * 310, 7 * 60 * 4 * 16)
    assert work.seconds == pytest.approx(7 * 6 * 410 / 1e3)


def test_the_published_training(composed):
    """… and what its numbers say of each other, as `published` has it."""
    overrides = ["model=paper", "trainer.devices=256", "trainer.strategy=fsdp"]
    configs = {stage: composed(*overrides, f"stage={stage}") for stage in ("tokenizer", "lam", "dynamics")}
    plan = plan_stage(configs["dynamics"], configs, batch_given=False)
    assert plan.batch.clips == 2 and plan.work.tokens == 125_000 * 512 * 16 * 23 * 40 == 942_080_000_000
    assert plan.work.tokens == pytest.approx(plan_memory.TOKENS, rel=1e-3)
    # 6 for each parameter and token, and a little for attention
    assert 1 < plan.work.training / (6 * plan.parameters * plan.work.tokens) < 1.03
    by_rule = 6 * plan_memory.PARAMETERS["dynamics"] * plan_memory.TOKENS
    assert by_rule == pytest.approx(5.7e22, rel=0.01) and plan_memory.FLOPS / by_rule == pytest.approx(1.156, abs=0.001)
    assert sum(plan_memory.PARAMETERS.values()) == pytest.approx(10.6e9) != plan_memory.WORLD_PARAMETERS


def test_a_device_is_for_the_user_to_give(composed):
    for device in ("a100", "a100_40gb", "h100", "rtx4090", "tpu_v5p"):
        config = composed(f"hardware={device}")["hardware"]
        assert 1e13 < config["flops"] < 1e16 and 0 < config["utilization"] < 1 and config["memory_gib"] > 8
    with pytest.raises(UserError):
        layout_of(composed("trainer.devices=0"))
