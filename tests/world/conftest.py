"""Worlds small enough to be stepped thousands of times."""

import pytest
import torch

from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
from genie.models.initialization import initialize
from genie.world.delta_world import DeltaWorld
from genie.world.rssm_world import RssmWorld
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel


@pytest.fixture
def world():
    """Frames of 8x12 pixels, 3 actions, a window of 5 frames, 10 of them a second; untrained."""
    tokenizer = VideoTokenizer((8, 12), 4, width=16, num_blocks=1, num_heads=2, num_codes=16, latent_dim=4)
    dynamics = DynamicsModel(16, (2, 3), 3, width=16, num_blocks=2, num_heads=2)
    lam = LatentActionModel((8, 12), 4, 3, width=16, num_blocks=1, num_heads=2, latent_dim=4)
    for model in (tokenizer, dynamics, lam):
        initialize(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():  # an untrained model hardly cares for its inputs
        dynamics.action_embedding.weight *= 30
        tokenizer.to_pixels.projection.weight *= 10
    frames = torch.rand(8, 4, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    for model in (tokenizer, lam):  # codes from data
        model.train()(frames)
        model.eval()
    return WorldModel(tokenizer, dynamics.eval(), lam, 5, 10.0, Sampler(steps=3, temperature=1.0))


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
