import copy

import pytest
import torch
from torch import nn

from genie.distributed.optim import Offloaded, build_optimizer

MUON = {"momentum": 0.9, "steps": 5, "matrices": 1, "bf16": False}


def trained(cpu_offload, steps, dtype=torch.float32, state=None, muon=False):
    """A linear map after some steps of AdamW, or of Muon on its matrix, with two groups, each of which has a parameter
    without gradient."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"map": nn.Linear(4, 4), "unused": nn.Linear(2, 2)}).to(dtype)
    names = dict(model.named_parameters())
    groups = [
        {
            "params": [item for item in names.items() if item[0].endswith("weight")],
            "weight_decay": 0.1,
            **(MUON if muon else {}),
        },
        {"params": [item for item in names.items() if item[0].endswith("bias")], "weight_decay": 0.0},
    ]
    options = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8}
    optimizer = build_optimizer([group | options for group in groups], cpu_offload)
    if state is not None:
        model.load_state_dict(state[0])
        optimizer.load_state_dict(state[1])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    for _ in range(steps):
        optimizer.step(lambda: (optimizer.zero_grad(), (model["map"](x) - x).square().mean().backward())[1])
        schedule.step()
    return model, optimizer


@pytest.mark.parametrize("muon", [False, True])
def test_the_state_lives_outside_and_every_bit_is_that_of_the_plain_optimizer(muon):
    (plain, _), (ours, optimizer) = trained(False, 4, muon=muon), trained(True, 4, muon=muon)
    assert isinstance(optimizer, Offloaded) and not optimizer.state
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("muon", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_checkpoint_goes_on_with_either(first, muon):
    """The form is that of the plain optimizer: names, groups, no state for what has no gradient."""
    model, optimizer = trained(first, 3, muon=muon)
    saved = copy.deepcopy(optimizer.state_dict())
    assert [group["param_names"] for group in saved["param_groups"]] == [
        ["map.weight", "unused.weight"],
        ["map.bias", "unused.bias"],
    ]
    assert set(saved["state"]) == {0, 2}
    ends = [
        trained(offload, 2, state=(model.state_dict(), copy.deepcopy(saved)), muon=muon)[0].state_dict()
        for offload in (False, True)
    ]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_moments_of_bf16_weights_are_fp32():
    _, optimizer = trained(True, 2, torch.bfloat16)
    entry = optimizer.state_dict()["state"][0]
    assert entry["exp_avg"].dtype == entry["exp_avg_sq"].dtype == torch.float32


def adamw(fused, steps=0, state=None):
    """A linear map after steps of AdamW."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = build_optimizer([{"params": list(model.named_parameters()), "lr": 0.01}], False, fused)
    if state is not None:
        optimizer.load_state_dict(state)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - x).square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_fused_adamw_is_a_choice_and_gives_the_same_weights():
    (fused, optimizer), (plain, other) = adamw(True, 5), adamw(None, 5)
    assert optimizer.param_groups[0]["fused"] and not other.param_groups[0]["fused"]  # null: on a GPU alone
    torch.testing.assert_close(fused.weight, plain.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("trained_with", "resumed_with"), [(True, None), (None, True)])
def test_a_checkpoint_does_not_decide_it(trained_with, resumed_with):
    state = adamw(trained_with, 2)[1].state_dict()
    _, optimizer = adamw(resumed_with, 2, state)
    assert bool(optimizer.param_groups[0]["fused"]) == bool(resumed_with)
