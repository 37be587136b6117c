import pytest
import torch

from genie.common.errors import UserError
from genie.stages.losses import JointObjective


def never():
    raise AssertionError("this term is switched off")


def test_terms_are_weighed_logged_and_left_out():
    value = torch.tensor(3.0, requires_grad=True)
    objective = JointObjective({"dynamics": 1, "kl": 0.5, "smoothness": 0})
    loss, figures = objective({"dynamics": lambda: torch.tensor(1.0), "kl": lambda: value, "smoothness": never})
    assert loss.item() == 2.5 and objective.uses("kl") and not objective.uses("smoothness")
    named = {"dynamics_loss": 1, "dynamics_loss_weighted": 1, "kl_loss": 3, "kl_loss_weighted": 1.5}
    assert {name: figure.item() for name, figure in figures.items()} == named
    loss.backward()
    assert value.grad == 0.5 and not any(figure.requires_grad for figure in figures.values())


def test_weights_that_are_none():
    with pytest.raises(UserError, match="all of simulator.objective is 0"):
        JointObjective({"kl": 0, "dynamics": 0})
