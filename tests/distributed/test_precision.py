from contextlib import nullcontext

import pytest
import torch

from genie.distributed import strategy
from genie.distributed.sharding import exact_parameters
from genie.distributed.strategy import TrueBFloat16

VARIANTS = [
    ("tokenizer", []),
    ("tokenizer", ["+model.tokenizer.standardize=true", "+model.tokenizer.transformer={temporal_positions: learned}"]),
    ("tokenizer", ["+model.tokenizer.architecture=conv"]),
    ("lam", []),
    ("lam", ["+model.lam.antisymmetric=true", "+model.lam.copy_last=true"]),
    ("lam", ["+model.lam.input=tokens"]),
    ("dynamics", ["+model.dynamics.conditioning=film"]),
    ("dynamics", ["+model.dynamics.conditioning=prepend"]),
    ("cotrain", []),
]


@pytest.mark.parametrize(("name", "overrides"), VARIANTS)
def test_weights_in_bf16_train_every_stage(build, make_clips, name, overrides):
    """Nearly to the loss of fp32, with the same masks; what names codes stays exact."""
    losses = []
    for low in (False, True):
        stage = build(name, *overrides)
        precision = TrueBFloat16("cpu")
        if low:
            before = dict(stage.named_buffers())
            precision.convert_module(stage)
            assert all(value.dtype == before[key].dtype for key, value in stage.named_buffers())
        torch.manual_seed(0)
        with precision.train_step_context() if low else nullcontext():
            loss, _ = stage.train().compute(make_clips(4))
        loss.backward()
        with precision.val_step_context() if low else nullcontext(), torch.no_grad():
            validation, _ = stage.eval().compute(make_clips(4, seed=1))
        assert all(value.grad is None or value.grad.dtype == value.dtype for value in stage.parameters())
        losses.append([loss.item(), validation.item()])
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.1)
    exact = {id(value) for value in exact_parameters(stage)}
    kinds = {(value.dtype, id(value) in exact) for value in stage.parameters()}
    assert kinds <= {(torch.bfloat16, False), (torch.float32, True)} and (torch.bfloat16, False) in kinds


@pytest.mark.parametrize(("kind", "expected"), [("cuda", "medium"), ("cpu", "highest")])
def test_products_of_fp32_are_inexact_on_a_gpu_alone(monkeypatch, kind, expected):
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(strategy, "device_kind", lambda accelerator: kind)
    try:
        strategy.set_matmul_precision({"accelerator": "auto", "matmul_precision": "medium"})
        assert torch.get_float32_matmul_precision() == expected
    finally:
        torch.set_float32_matmul_precision(before)
