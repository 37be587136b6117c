"""Which trainings are one and the same."""

from pathlib import Path

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.errors import UserError
from genie.training.ablation import plan_world

pytestmark = pytest.mark.slow

ROOT = Path("outputs/ablations")


@pytest.fixture
def plan():
    """plan(*overrides, seed=0): the trainings of a variant."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        yield lambda *overrides, seed=0: plan_world("variant", seed, ["model=debug", *overrides], ROOT)


@pytest.fixture(scope="module")
def base():
    """The plan without any change."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return plan_world("variant", 0, ["model=debug"], ROOT)


def folders(world):
    return {stage: job.folder.path for stage, job in world.jobs.items()}


@pytest.mark.parametrize(
    ("override", "own"),
    [
        ("++model.tokenizer.architecture=vit", {"tokenizer", "dynamics"}),  # latent actions come from pixels
        ("++model.lam.input=tokens", {"lam", "dynamics"}),
        ("++model.dynamics.conditioning=film", {"dynamics"}),
        ("ema=true", {"tokenizer", "lam", "dynamics"}),
        ("name=other", set()),
    ],
)
def test_only_what_a_change_reaches_is_trained_again(plan, base, override, own):
    before, changed = folders(base), folders(plan(override))
    assert {stage for stage in before if before[stage] != changed[stage]} == own


def test_latent_actions_from_tokens_follow_the_tokenizer(plan):
    first = folders(plan("++model.lam.input=tokens"))
    other = folders(plan("++model.lam.input=tokens", "++model.tokenizer.architecture=conv"))
    assert all(first[stage] != other[stage] for stage in ("tokenizer", "lam", "dynamics"))


def test_seeds_share_nothing_and_the_same_plan_is_the_same(plan, base):
    first, again, other = base, plan(), plan(seed=1)
    assert folders(first) == folders(again)
    assert not set(folders(first).values()) & set(folders(other).values())
    assert {job.config["seed"] for job in other.jobs.values()} == {1}


def test_each_stage_is_handed_the_checkpoints_of_those_it_needs(plan):
    world = plan("++model.lam.input=tokens")
    assert list(world.jobs) == ["tokenizer", "lam", "dynamics"]
    at = {stage: str(job.folder.last) for stage, job in world.jobs.items()}
    assert world.jobs["lam"].config["tokenizer_ckpt"] == at["tokenizer"]
    dynamics = world.jobs["dynamics"].config
    assert (dynamics["tokenizer_ckpt"], dynamics["lam_ckpt"]) == (at["tokenizer"], at["lam"])
    assert world.path == world.jobs["dynamics"].folder.path.parent and ROOT in world.path.parents


def test_the_commands_are_those_that_were_planned(plan):
    """The overrides that a process is given lead to the configuration that the folder is named after."""
    from genie.common.cli import to_plain
    from genie.common.overrides import composed

    for job in plan("++model.tokenizer.architecture=vit", seed=3).jobs.values():
        assert to_plain(composed("train", list(job.overrides))) == job.config


def test_true_actions_need_no_latent_ones(base):
    from genie.stages import STAGES

    config = base.jobs["dynamics"].config
    assert STAGES["dynamics"].needs(config | {"stage": config["stage"] | {"actions": "environment"}}) == ("tokenizer",)


def test_a_variant_that_cannot_be_is_told(plan):
    from genie.training.ablation import num_parameters

    with pytest.raises(UserError, match="architecture='vti'"):
        num_parameters(plan("++model.tokenizer.architecture=vti").jobs["tokenizer"].config)
