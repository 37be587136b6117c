"""The sampler of a command: the run's own or a choice of the group, with single settings changed."""

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.world.sampler import Sampler
from genie.world.sampler_choice import with_overrides

OWN = Sampler(steps=7, temperature=0.3, order="random", entropy_bound=0.2)


def chosen(*overrides, command="generate"):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        config = resolved(command, ["run=outputs/x", *overrides])
    return with_overrides(OWN, config)


@pytest.mark.parametrize("command", ["generate", "evaluate", "play"])
def test_the_runs_own_sampler_unless_something_is_given(command):
    assert chosen("sampler=run", command=command) == OWN
    assert chosen("sampler=run", "steps=3", command=command) == Sampler(3, 0.3, "random", 0.2)


def test_choices_replace_all_of_it():
    assert chosen("sampler=maskgit") == Sampler(25, 2.0, "confidence", None)
    greedy, adaptive = chosen("sampler=greedy"), chosen("sampler=adaptive")
    assert (greedy.steps, greedy.temperature, greedy.entropy_bound) == (1, 0.0, None)
    assert adaptive.steps > 1 and adaptive.entropy_bound > 0 and adaptive.order == "confidence"


def test_the_adaptive_one_is_that_of_the_preset_pong():
    """What people play by default is what the figures of the preset are made with."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        preset = resolved("train", ["experiment=pong", "stage=dynamics"])["sampler"]
    assert chosen("sampler=adaptive", command="play") == Sampler(**preset)


def test_single_settings_of_a_choice():
    assert chosen("sampler=maskgit", "steps=12", "order=random") == Sampler(12, 2.0, "random", None)
    assert chosen("sampler=adaptive", "entropy_bound=0.1").entropy_bound == 0.1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("entropy_bound=much", "entropy_bound=much must be a number"),
        ("entropy_bound=-1", "entropy_bound=-1"),
        ("steps=0", "steps=0"),
        ("order=raster", "order=raster must be one of confidence, random"),
    ],
)
def test_settings_that_cannot_be(override, words):
    with pytest.raises(UserError, match=words):
        chosen("sampler=adaptive", override)
