"""Attention as one operation: the numbers and gradients of the plain operations beside it."""

import pytest
import torch

from genie.models import attention
from genie.models.attention import SelfAttention
from genie.models.fused_attention import additive, fused_attention
from genie.models.kv_cache import CleanContext, Layer, Past

LAYOUTS = {
    "space": ({}, (2, 3, 7, 32), {}),
    "space, rotated, some places": (
        {},
        (2, 3, 7, 32),
        {"bias": torch.linspace(-1, 1, 14).view(2, 1, 1, 1, 7), "turn": (torch.rand(2, 1, 7, 1, 1, 4),) * 2},
    ),
    "time": ({"causal": True, "rotary": True}, (2, 5, 6, 32), {}),
    "time, learned positions": ({"causal": True}, (2, 5, 6, 32), {}),
    "clean context": (
        {"causal": True, "rotary": True},
        (2, 5, 10, 32),
        {"layer": Layer(CleanContext(6, torch.device("cpu")), 0)},
    ),
}


def build(**options) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(32, num_heads=4, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.rand_like(parameter)  # scales that differ
    return layer


def gradients(module: SelfAttention, x: torch.Tensor, **arguments) -> list[torch.Tensor]:
    """The output, and the gradients of the input and of all parameters."""
    module.zero_grad()
    x = x.clone().requires_grad_()
    out = module(x, **arguments)
    (out * torch.arange(out.numel()).sin().view_as(out)).sum().backward()
    return [out.detach(), x.grad, *(parameter.grad.clone() for parameter in module.parameters())]


@pytest.fixture
def plain(monkeypatch):
    """Called, the plain operations compute everything from then on."""
    return lambda: monkeypatch.setattr(attention, "MOST", 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_and_gradients_are_those_of_the_plain_operations(layout, plain):
    options, shape, arguments = LAYOUTS[layout]
    layer, x = build(**options), torch.randn(shape)
    fused = gradients(layer, x, **arguments)
    plain()
    for ours, reference in zip(fused, gradients(layer, x, **arguments), strict=True):
        torch.testing.assert_close(ours, reference, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_backward_pass_is_the_derivative(rotated, causal):
    torch.manual_seed(0)
    qkv = torch.randn(2, 2, 4, 3, 2, 6, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(2, 6, dtype=torch.float64).add_(0.5).requires_grad_()
    angles = torch.rand(4, 3, dtype=torch.float64)
    turn = (angles.cos(), angles.sin()) if rotated else (None, None)
    mask = additive(torch.ones(4, 4, dtype=torch.bool).tril()).double() if causal else None
    assert torch.autograd.gradcheck(lambda a, b: fused_attention(a, b, *turn, mask), (qkv, scale))


def test_bf16_is_as_near_to_fp32_as_the_plain_operations_are(plain):
    layer, x = build(causal=True, rotary=True), torch.randn(2, 5, 6, 32)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = layer(x)
        fused.float().sum().backward()  # within autocast, too
        plain()
        reference = layer(x)
    assert fused.dtype == torch.bfloat16
    assert (fused.float() - exact).abs().max() <= 1.5 * (reference.float() - exact).abs().max()


def test_whole_clips_are_fused_and_frames_of_a_cache_are_not(monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "fused_attention", lambda *args: calls.append(args) or fused_attention(*args))
    layer = build(causal=True, rotary=True)
    layer(torch.randn(2, 5, 6, 32))
    assert len(calls) == 1
    span = Past.empty(1, 2, 6).span(3, torch.device("cpu"))
    layer(torch.randn(2, 5, 3, 32), Layer(span, 0))
    build(qk_norm=False)(torch.randn(2, 5, 32))
    build()(torch.randn(1, attention.MOST + 1, 32))
    assert len(calls) == 1
