"""Muon with AdamW: which weights it moves, and how far in which direction."""

import copy
import math

import pytest
import torch
from torch import nn

from genie.common import device
from genie.common.errors import UserError
from genie.distributed import muon
from genie.distributed.muon import MuonWithAdamW, orthogonalize
from genie.models.st_transformer import STTransformer
from genie.stages import GENIE_STAGES
from genie.stages.optimization import hidden_matrices, parameter_groups

ADAMW = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
MUON = {"lr": 0.02, "momentum": 0.9, "steps": 5, "matrices": 1, "bf16": False, "weight_decay": 0.1}


@pytest.mark.parametrize("shape", [(2, 8, 24), (2, 24, 8), (1, 16, 16)])
def test_singular_vectors_stay_and_singular_values_become_alike(shape):
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.2, 5, values.shape[-1]).expand_as(values)
    found = left.mT @ orthogonalize(left @ torch.diag_embed(values) @ right, steps=5) @ right.mT
    diagonal = torch.diagonal(found, dim1=-2, dim2=-1)
    torch.testing.assert_close(found, torch.diag_embed(diagonal), rtol=0, atol=1e-4)
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()


def test_nothing_stays_nothing():
    assert torch.equal(orthogonalize(torch.zeros(1, 4, 6), steps=5), torch.zeros(1, 4, 6))


def weights():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((12, 6), (6, 6), (5,))]


def steps_of(optimizers, parameters, count=3):
    """Steps on gradients that are the same for all who call."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_a_step_is_that_of_pytorch_on_matrices_and_of_adamw_bit_for_bit_elsewhere():
    """PyTorch takes the iteration in bf16, which shows in the third digit."""
    ours, theirs = weights(), weights()
    mine = MuonWithAdamW([{"params": ours[2:], **ADAMW}, {"params": ours[:2], **MUON}])
    reference = torch.optim.Muon(theirs[:2], lr=0.02, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    found = steps_of([mine], ours)
    expected = steps_of([reference, torch.optim.AdamW(theirs[2:], **ADAMW)], theirs)
    assert torch.equal(found[2], expected[2])
    for value, other, start in zip(found[:2], expected[:2], weights(), strict=False):
        assert (value - other).norm() < 0.03 * (value - start).norm()


def test_a_fused_weight_steps_as_its_parts_would_by_themselves():
    torch.manual_seed(0)
    whole, gradient = nn.Parameter(torch.randn(18, 6)), torch.randn(18, 6)
    parts = [nn.Parameter(part.clone()) for part in whole.detach().chunk(3)]
    whole.grad = gradient
    for part, own in zip(parts, gradient.chunk(3), strict=True):
        part.grad = own
    start = [{"params": [nn.Parameter(torch.zeros(1))], **ADAMW}]
    MuonWithAdamW([*copy.deepcopy(start), {"params": [whole], **MUON, "matrices": 3}]).step()
    MuonWithAdamW([*copy.deepcopy(start), {"params": parts, **MUON}]).step()
    torch.testing.assert_close(whole.detach(), torch.cat([part.detach() for part in parts]))


@pytest.mark.parametrize("shape", [(8, 8), (4, 32), (16, 3, 3, 3)])
def test_the_size_of_a_step_does_not_depend_on_the_shape(shape):
    """Entries of 0.2 of the learning rate, as AdamW's are."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.linalg.qr(
        torch.randn(max(shape[0], math.prod(shape[1:])), min(shape[0], math.prod(shape[1:])))
    )[0].reshape(shape)
    options = {"params": [weight], **MUON}
    MuonWithAdamW([{"params": [nn.Parameter(torch.zeros(1))], **ADAMW}, options]).step()
    assert 0.6 < weight.detach().square().mean().sqrt() / (0.2 * 0.02) < 1.3


def test_the_iteration_is_in_fp32_where_bf16_is_emulated(monkeypatch):
    asked = []

    def ends(bf16, native):
        monkeypatch.setattr(muon, "has_bf16", lambda device: asked.append(device) or native)
        parameters = weights()
        optimizer = MuonWithAdamW(
            [{"params": parameters[2:], **ADAMW}, {"params": parameters[:2], **MUON, "bf16": bf16}]
        )
        return torch.cat([value.flatten() for value in steps_of([optimizer], parameters)])

    exact = ends(bf16=False, native=True)
    assert torch.equal(ends(bf16=True, native=False), exact) and not torch.equal(ends(bf16=True, native=True), exact)
    assert set(asked) == {"cpu"}


def test_what_runs_bf16_by_itself_is_decided_in_one_place(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for native in (False, True):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert device.has_bf16("cpu") == native and not device.has_bf16("mps")
        assert device.best_precision() == ("bf16-mixed" if native else "32-true")


def test_the_matrices_are_those_of_attention_and_feed_forward():
    model = nn.ModuleDict({"net": STTransformer(8, 1, 2, (2, 2), modulated=True), "head": nn.Linear(8, 8)})
    block = "net.blocks.0"
    assert hidden_matrices(model) == {
        f"{block}.spatial.qkv.weight": 3,
        f"{block}.spatial.out.weight": 1,
        f"{block}.temporal.qkv.weight": 3,
        f"{block}.temporal.out.weight": 1,
        f"{block}.feed_forward.0.weight": 1,
        f"{block}.feed_forward.2.weight": 1,
    }


@pytest.mark.parametrize("name", GENIE_STAGES)
def test_each_parameter_is_moved_once_and_only_blocks_by_muon(build, name):
    stage = build(name, "optimizer=muon", "optimizer.weight_decay=0.1")
    optimizer = stage.configure_optimizers()["optimizer"]
    moved = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(moved) == sorted(id(parameter) for parameter in stage.trained().parameters())
    names = [name for group in optimizer.param_groups if "momentum" in group for name in group["param_names"]]
    assert names and all(".blocks." in name and name.endswith("weight") and "norm" not in name for name in names)
    decaying = [name for group in optimizer.param_groups if group["weight_decay"] for name in group["param_names"]]
    plain = build(name, "optimizer=adamw", "optimizer.weight_decay=0.1").optimizer_groups()
    assert sorted(decaying) == sorted(name for name, _ in plain[0]["params"])


def test_both_learning_rates_follow_the_schedule(build):
    stage = build("tokenizer", "optimizer=muon", "optimizer.lr=1e-3", "optimizer.muon_lr=4e-3")
    setup = stage.configure_optimizers()
    factor = stage.learning_rate_factor()
    for step in range(3):
        rates = [group["lr"] for group in setup["optimizer"].param_groups]
        assert rates == pytest.approx([1e-3 * factor(step)] * 2 + [4e-3 * factor(step)] * 2)
        setup["optimizer"].step()
        setup["lr_scheduler"]["scheduler"].step()


def test_a_choice_that_does_not_fit_is_told(build, configure):
    config = configure("tokenizer", "optimizer=muon")
    with pytest.raises(UserError, match="stage=tokenizer trains no blocks .* use optimizer=adamw$"):
        parameter_groups(nn.Linear(2, 2), config)


def test_the_preset_may_name_the_optimizer_of_a_stage_and_the_command_line_another(configure):
    preset = ["+recipe.lam.optimizer=muon", "+recipe.lam.muon_lr=0.5"]
    names = [configure(stage, *preset)["optimizer"]["name"] for stage in ("tokenizer", "lam")]
    assert names == ["adamw", "muon"] and configure("lam", *preset)["optimizer"]["muon_lr"] == 0.5
    assert configure("lam", *preset, "optimizer=adamw")["optimizer"]["name"] == "adamw"
