"""Normalisation of queries and keys, rotation and attention as one operation with a backward pass of its own.

It computes what `SelfAttention.project` and `attend` compute, which stay beside it as the reference. On a CPU those
write a dozen tensors of the size of the queries, forward and backward, and `scaled_dot_product_attention` is made for
long sequences: with the 8 to 64 keys of a clip they cost more time than the matrix products (`benchmarks/peers.py`). It
is for training and encoding of whole clips on a CPU; a GPU has its fused kernels and `torch.compile`.

Dimension letters: `A` leading axes (any number), `P` positions attended over, `N` heads, `E` head size.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genie.common.device import full_precision

EPS = 1e-6
MOST = 128  # positions: beyond, the weights [P, P] of all heads, which are kept for the backward pass, take much memory


def fused_attention(qkv: Tensor, scale: Tensor, cos: Tensor | None, sin: Tensor | None, mask: Tensor | None) -> Tensor:
    """[A, P, N, E] of the type of `qkv` [A, P, 3, N, E]; computed in fp32 (fp64 if `qkv` is).

    scale: [2, E], of the RMS norms of queries and keys.
    cos, sin: of the rotation, [..., P, E/2], whose leading axes broadcast to A; None for none.
    mask: added to the logits: broadcasts to [A, N, P, P]; None for none. It gets no gradient.
    """
    with full_precision(qkv):
        return _FusedAttention.apply(qkv, scale, cos, sin, mask)


def additive(visible: Tensor) -> Tensor:
    """The `mask` for a bool mask, true where a query sees a key."""
    return torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, float("-inf"))


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, qkv: Tensor, scale: Tensor, cos: Tensor | None, sin: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        *lead, length, _, heads, size = qkv.shape
        dtype, half = torch.promote_types(qkv.dtype, torch.float32), size // 2
        shape = (*lead, heads, length, size)
        # [2, A, N, P, E]: queries and keys of each head side by side, normalised, the queries already divided by √E
        normed = torch.empty((2, *shape), dtype=dtype).copy_(qkv[..., :2, :, :].movedim(-3, 0).transpose(-2, -3))
        value = torch.empty(shape, dtype=qkv.dtype).copy_(qkv[..., 2, :, :].transpose(-2, -3))
        inverse = torch.linalg.vector_norm(normed, dim=-1, keepdim=True)
        inverse.square_().mul_(1 / size).add_(EPS).rsqrt_()
        inverse[0].mul_(size**-0.5)
        normed.mul_(inverse)

        scale = scale.to(dtype)
        by_pair = scale.view(2, *[1] * (len(shape) - 1), size)
        if cos is None or sin is None:
            pair = normed * by_pair
        else:
            cos, sin = cos.to(dtype).unsqueeze(-3), sin.to(dtype).unsqueeze(-3)  # [..., 1, P, E/2]
            pair = normed * (by_pair * torch.cat([cos, cos], dim=-1))
            pair[..., :half].addcmul_(normed[..., half:], by_pair[..., half:] * sin, value=-1)
            pair[..., half:].addcmul_(normed[..., :half], by_pair[..., :half] * sin)
        query, key = pair.view(2, -1, length, size)
        weights = torch.bmm(query, key.transpose(1, 2))
        if mask is not None:
            weights.view(*shape[:-1], length).add_(mask)
        torch.softmax(weights, dim=-1, out=weights)
        weights = weights.to(qkv.dtype)
        ctx.save_for_backward(normed, inverse, pair.to(qkv.dtype), value, weights, scale, cos, sin)
        out = torch.bmm(weights, value.view(-1, length, size)).view(shape)
        return out.transpose(-2, -3).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with full_precision(gradient):
            return _FusedAttention._gradients(ctx, gradient)

    @staticmethod
    def _gradients(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normed, inverse, pair, value, weights, scale, cos, sin = ctx.saved_tensors
        shape, dtype, low = value.shape, normed.dtype, value.dtype
        *lead, heads, length, size = shape
        half = size // 2
        query, key = pair.view(2, -1, length, size)
        of_qkv = torch.empty((*lead, length, 3, heads, size), dtype=low)

        of_out = torch.empty(shape, dtype=low).copy_(gradient.transpose(-2, -3)).view(-1, length, size)
        of_value = torch.bmm(weights.transpose(1, 2), of_out)
        of_qkv[..., 2, :, :].copy_(of_value.view(shape).transpose(-2, -3))
        of_weights = torch.bmm(of_out, value.view(-1, length, size).transpose(1, 2))
        of_logits = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, low)
        of_pair = torch.empty_like(pair)
        torch.bmm(of_logits, key, out=of_pair.view(2, -1, length, size)[0])
        torch.bmm(of_logits.transpose(1, 2), query, out=of_pair.view(2, -1, length, size)[1])
        of_pair = of_pair.to(dtype)

        if cos is not None:  # rotated back
            turned, of_pair = of_pair, of_pair * torch.cat([cos, cos], dim=-1)
            of_pair[..., :half].addcmul_(turned[..., half:], sin)
            of_pair[..., half:].addcmul_(turned[..., :half], sin, value=-1)
        # y = x / rms(x) times scale: the part of the gradient along x is lost
        along = (of_pair * normed).view(2, -1, size)
        of_scale = along.sum(1)
        share = torch.bmm(along, scale[..., None]).view(2, *shape[:-1], 1).div_(size)
        share[0].mul_(size)  # the queries are already divided by √E, twice in this product
        of_pair.mul_(scale.view(2, *[1] * (len(shape) - 1), size)).addcmul_(normed, share, value=-1).mul_(inverse)
        of_qkv[..., :2, :, :].copy_(of_pair.transpose(-2, -3).movedim(0, -3))
        return of_qkv, of_scale, None, None, None
