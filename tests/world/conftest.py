"""Worlds small enough to be stepped thousands of times."""

import pytest
import torch

from genie.world.simulator_world import DeltaWorld, RssmWorld


@pytest.fixture
def world(tokens_world):
    """That of all tests."""
    return tokens_world


@pytest.fixture(scope="session")
def simulator_worlds(build_simulator):
    """The two kinds of simulator by name; nothing is trained, but all cares for its inputs."""
    made = {}
    for kind, world in {"rssm": RssmWorld, "delta": DeltaWorld}.items():
        stage = build_simulator(kind, "data.num_frames=6")
        torch.manual_seed(0)
        with torch.no_grad():
            model = stage.model
            layers = [model.outcomes.continues, model.outcomes.reward.linear]
            layers += [model.members[-1]] if kind == "delta" else [
                model.inputs[0], model.from_frame, model.posterior[1], model.prior[2], model.decoder.lift]  # fmt: skip
            for layer in layers:
                layer.weight += torch.randn(layer.weight.shape) * 0.3
        made[kind] = world(stage)
    return made
