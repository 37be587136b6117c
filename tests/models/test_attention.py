import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch.utils._python_dispatch import TorchDispatchMode

from genie.models import attention
from genie.models.attention import SelfAttention, head_size, rotate, rotation
from genie.models.attention_maps import attention_weights


def test_rotary_positions_are_relative():
    query, key = torch.randn(2, 3, 6, 8).unbind(0)
    at = torch.arange(6)
    scores = rotate(query, rotation(at, query.shape[-1])) @ rotate(key, rotation(at, key.shape[-1])).mT
    shifted = rotate(query, rotation(at + 37, query.shape[-1])) @ rotate(key, rotation(at + 37, key.shape[-1])).mT
    torch.testing.assert_close(scores, shifted, atol=1e-4, rtol=1e-4)
    stretched = rotate(query, rotation(at * 2, query.shape[-1])) @ rotate(key, rotation(at * 2, key.shape[-1])).mT
    assert (scores - stretched).abs().max() > 0.1  # distances do count
    turned = rotate(query, rotation(at, query.shape[-1]))
    torch.testing.assert_close(turned.norm(dim=-1), query.norm(dim=-1))  # and nothing is scaled


def test_every_pair_turns_at_its_own_speed():
    x = torch.ones(1, 50, 8)
    turned = rotate(x, rotation(torch.arange(50), x.shape[-1]))
    angles = torch.atan2(turned[0, 1, 4:] - 0, turned[0, 1, :4]) - torch.pi / 4
    assert len(set(angles.mul(1e4).round().tolist())) == 4
    # no two of 50 frames look alike to the attention
    distance = torch.cdist(turned[0], turned[0]) + torch.eye(50) * 9
    assert distance.min() > 0.1


@pytest.mark.parametrize(("causal", "rotary"), [(False, False), (True, True), (True, False)])
def test_attention_weights_are_those_of_the_forward_pass(causal, rotary):
    layer = SelfAttention(16, 2, causal=causal, rotary=rotary)
    x = torch.randn(3, 5, 16)
    weights = attention_weights(layer, x)  # [B, N, P, P]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))
    later = torch.ones(5, 5).triu(1).bool()
    assert (weights[..., later] == 0).all() if causal else (weights > 0).all()
    value = layer.project(x)[2]
    expected = layer.out(rearrange(weights @ value, "b n p e -> b p (n e)"))
    torch.testing.assert_close(layer(x), expected)


def test_causal_attention_sees_the_past_only():
    layer = SelfAttention(16, 2, causal=True, rotary=True)
    x = torch.randn(2, 6, 16)
    changed = x.clone()
    changed[:, 3] += 1
    difference = (layer(changed) - layer(x)).abs().amax(dim=(0, 2))
    assert (difference[:3] == 0).all()
    assert (difference[3:] > 0).all()


def test_qk_norm_takes_the_scale_from_queries_and_keys():
    x = torch.randn(2, 5, 16)
    for normalised in (True, False):
        layer = SelfAttention(16, 2, qk_norm=normalised, bias=False)
        before = attention_weights(layer, x)
        with torch.no_grad():
            layer.qkv.weight[:32] *= 30
        moved = (attention_weights(layer, x) - before).abs().max()
        assert moved < 1e-3 if normalised else moved > 0.1


def test_heads_that_do_not_fit():
    with pytest.raises(ValueError, match=r"width=130 .*num_heads=4.*head_dim"):
        head_size(130, 4, None)
    with pytest.raises(ValueError, match="head_dim=7"):
        head_size(128, 4, 7)
    assert head_size(5120, 36, 128) == 128  # the paper's dynamics: 36 · 128 is not 5120
    layer = SelfAttention(20, 3, head_dim=4)
    assert layer(torch.randn(1, 2, 20)).shape == (1, 2, 20)


@pytest.mark.filterwarnings("error")
def test_attention_is_fp32_on_cpu_under_autocast(monkeypatch):
    seen = []
    real = F.scaled_dot_product_attention

    def spy(query, key, value, **options):
        seen.append((query.dtype, key.dtype, value.dtype, torch.is_autocast_enabled("cpu")))
        return real(query, key, value, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(attention, "MOST", 0)  # nothing is fused
    layer, x = SelfAttention(16, 2, causal=True, rotary=True), torch.randn(2, 4, 16, requires_grad=True)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16  # the linear layers are not
    assert seen[-1] == (torch.float32, torch.float32, torch.float32, False)
    torch.testing.assert_close(out.float(), exact, atol=0.03, rtol=0.03)
    out.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


class Operations(TorchDispatchMode):
    """The names of what is computed."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", [SelfAttention(8, 2), SelfAttention(8, 2, qk_norm=False)])
def test_frozen_weights_are_multiplied_at_once(layer):
    """Of a transposed view, as attention in time takes it: PyTorch would multiply each row by weights of its own."""
    x = torch.rand(2, 3, 5, 8).transpose(1, 2)
    done = []
    for learns in (True, False):
        layer.requires_grad_(learns)
        with torch.no_grad(), Operations() as operations:
            layer(x)
        done.append(operations.names)
    assert done[0] == done[1] and "aten.addmm.default" in done[0]
