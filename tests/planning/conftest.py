"""Planners as their configurations make them, on a line of which everything is known."""

import copy
import functools

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.settings.schema import typed
from genie.planning.optimizers import build_planner


@functools.cache
def composed(choice):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("act", ["run=none", f"planner={choice}"]).plain()


@pytest.fixture(scope="session")
def group():
    """group("cem", horizon=5): the group `planner` with some values replaced (of mpc's optimizer: those it has)."""

    def build(choice, **values):
        play = copy.deepcopy(composed(choice))
        planner = play["planner"]
        place = planner.get("optimizer", planner)
        for key, value in values.items():
            (planner if key in planner else place)[key] = value
        return typed("act", play).planner

    return build


@pytest.fixture
def planner(group):
    """planner(world, "cem", horizon=5): one of them in a world."""
    return lambda world, choice, value=None, **values: build_planner(group(choice, **values), world, value)


@pytest.fixture
def at():
    """at(world, 0.0, 0.2): the state of worlds whose points are there."""
    return lambda world, *places: world.reset(torch.tensor(places)[:, None, None])
