"""Multi-head self-attention with QK-norm and optional rotary positions.

Sources: Genie (arXiv 2402.15391) §2.1 and appendix C (QK-norm, explicit `k/q_size`); rotary positions from RoFormer
(arXiv 2104.09864), those of rows and columns from EVA-02 (arXiv 2303.11331) and RoPE-ViT (arXiv 2403.13298).

Dimension letters: `B` batch (any leading axes folded together), `P` positions attended over, `D` width, `N` heads,
`E` head size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import full_precision
from genie.models.fused_attention import EPS, MOST, additive, fused_attention
from genie.models.kv_cache import CleanContext, Layer, Span

Turn = tuple[Tensor, Tensor]  # cosine and sine of the angles by which queries and keys are rotated


def head_size(width: int, num_heads: int, head_dim: int | None) -> int:
    """`head_dim` where it is given, else `width / num_heads`; ValueError where that is not an even whole number."""
    if head_dim is not None:
        if head_dim % 2:
            raise ValueError(f"head_dim={head_dim} is odd; rotary positions turn pairs, so give an even head_dim")
        return head_dim
    if width % num_heads or (width // num_heads) % 2:
        raise ValueError(
            f"width={width} does not split into num_heads={num_heads} heads of even size; "
            f"change one of them or give head_dim explicitly (the paper's k/q_size)"
        )
    return width // num_heads


def rotation(positions: Tensor, size: int) -> Turn:
    """Cosine and sine [..., P, E/2] of rotary angles for heads of `size` E at `positions` [..., P] (frame indices)."""
    # Clips have tens of frames, not thousands of words: base 1000 keeps the slowest pair from standing still.
    angles = _angles(positions, size // 2, 1000.0)
    return angles.cos(), angles.sin()


def grid_rotation(rows: Tensor, columns: Tensor, size: int) -> Turn:
    """`rotation` for places [..., P] in a frame's grid, half of the pairs by row and half by column; 4 divides
    `size`."""
    # Grids have tens of rows at most: with base 100 several pairs tell a row from the next.
    angles = torch.cat([_angles(places, size // 4, 100.0) for places in (rows, columns)], dim=-1)
    return angles.cos(), angles.sin()


def _angles(positions: Tensor, count: int, base: float) -> Tensor:
    frequencies = base ** (-torch.arange(count, device=positions.device, dtype=torch.float32) / count)
    return positions.to(torch.float32)[..., None] * frequencies


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """Rotary position embedding of `x` [..., E] by a `rotation` that broadcasts to it."""
    cos, sin = (part.to(x.dtype) for part in turn)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, mask: Tensor | None = None) -> Tensor:
    """`softmax(q kᵀ / √E) v` for [..., N, P, E] tensors, in the precision that is fast on the device at hand.

    `mask` (of as many axes; bool, true where a query sees a key, or a number that is added to its logit) has one row,
    or one for each of the first axis. On CPU the product is in fp32 under any autocast: the bf16 kernel's backward
    pass is several times slower for the short sequences of a clip.
    """
    shape, dtype = query.shape, query.dtype
    # The fused kernels take four axes; for more, PyTorch falls back on one that materialises all weights.
    if mask is not None:
        mask = mask.expand(-1, *shape[1:-3], -1, -1, -1) if len(mask) > 1 else mask
        mask = mask.reshape(-1, *mask.shape[-3:])
    query, key, value = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
    options = {"attn_mask": mask, "is_causal": causal}
    if query.device.type == "cpu" and dtype != torch.float32:
        with full_precision(query):
            out = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), **options)
    else:
        out = F.scaled_dot_product_attention(query, key, value, **options)
    return out.to(dtype).view(shape)


class SelfAttention(nn.Module):
    """Self-attention over the second-to-last axis of [..., P, D].

    Args:
        width: D.
        num_heads: N.
        head_dim: E, the paper's `k/q_size`; None for `width / num_heads`.
        causal: position p sees positions ≤ p.
        rotary: rotary positions: only distances count, so a window can slide.
        qk_norm: RMS-normalise queries and keys per head (Genie appendix C: keeps large models stable).
        bias: biases in the two projections.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int | None = None,
        causal: bool = False,
        rotary: bool = False,
        qk_norm: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        size = head_size(width, num_heads, head_dim)
        self.num_heads, self.size, self.causal, self.rotary = num_heads, size, causal, rotary
        self.qkv = nn.Linear(width, 3 * num_heads * size, bias=bias)
        self.out = nn.Linear(num_heads * size, width, bias=bias)
        self.qk_norm = qk_norm
        if qk_norm:
            self.query_norm, self.key_norm = (nn.RMSNorm(size, eps=EPS) for _ in range(2))

    def project(
        self, x: Tensor, span: Span | CleanContext | None = None, turn: Turn | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [..., N, P, E] of `x` [..., P, D], normalised and rotated by position or `turn`."""
        parts = self._parts(x)
        pair, value = parts[..., :2, :, :], parts[..., 2, :, :]  # [..., P, 2, N, E]: both are processed at once
        if self.qk_norm:
            # fp32: the norm has a fused kernel for it, whatever the type of its weights
            pair = (F.rms_norm(pair.float(), (self.size,), eps=EPS) * self._scale()[:, None]).to(value.dtype)
        if self.rotary:
            turn = self._rotation(x, span)
        if turn is not None:
            pair = rotate(pair, turn)
        query, key = (part.transpose(-2, -3) for part in pair.unbind(-3))
        return query, key, value.transpose(-2, -3)

    def forward(
        self, x: Tensor, layer: Layer | None = None, bias: Tensor | None = None, turn: Turn | None = None
    ) -> Tensor:
        """x [..., P, D] → [..., P, D]. `layer`: x are new frames [R, S, t, D] of a cache and also attend to those
        before them. `bias` fp32, added to the logits, broadcasts to [..., N, P, P]; `turn`, in place of `rotary`'s, to
        [..., P, 2, N, E/2]."""
        span = None if layer is None else layer.span
        if self._fuses(x, span):
            return self.out(self._fused(x, span, bias, turn).flatten(-2))
        if layer is None:
            out = attend(*self.project(x, turn=turn), self.causal, bias)
        else:
            query, key, value = self.project(x, layer.span)
            key, value = layer.span.update(layer.block, key, value)
            out = attend(query.to(key.dtype), key, value, layer.span.causal, layer.span.mask).to(query.dtype)
        return self.out(out.transpose(-2, -3).flatten(-2))

    def _fuses(self, x: Tensor, span: Span | CleanContext | None) -> bool:
        """Whether `fused_attention` computes this pass: of whole clips on a CPU."""
        whole = span is None or isinstance(span, CleanContext)
        here = x.device.type == "cpu" and not torch.compiler.is_compiling()
        return here and whole and self.qk_norm and x.shape[-2] <= MOST

    def _fused(self, x: Tensor, span: Span | CleanContext | None, bias: Tensor | None, turn: Turn | None) -> Tensor:
        """[..., P, N, E] of `x` [..., P, D]: `project` and `attend` in one."""
        qkv = self._parts(x)
        if self.rotary:
            turn = self._rotation(x, span)
        cos, sin = (None, None) if turn is None else (part[..., 0, 0, :] for part in turn)
        mask = bias
        if span is not None and span.mask is not None:
            mask = additive(span.mask)
        elif self.causal:
            length = x.shape[-2]
            mask = additive(torch.ones(length, length, dtype=torch.bool).tril())
            mask = mask if bias is None else mask + bias
        return fused_attention(qkv, self._scale(), cos, sin, mask)

    def _parts(self, x: Tensor) -> Tensor:
        """[..., P, 3, N, E]: queries, keys and values of `x` [..., P, D]."""
        # A transposed view times frozen weights is a product for each row, with a copy of the weights each.
        return self.qkv(x.contiguous()).unflatten(-1, (3, self.num_heads, self.size))

    def _scale(self) -> Tensor:
        """[2, E], of the norms of queries and keys."""
        return torch.stack([self.query_norm.weight, self.key_norm.weight])

    def _rotation(self, x: Tensor, span: Span | CleanContext | None) -> Turn:
        """[P, 1, 1, E/2], in a span [R or 1, 1, t, 1, 1, E/2]."""
        if span is None:
            positions = torch.arange(x.shape[-2], device=x.device)
            cos, sin = rotation(positions, self.size)
            return cos[:, None, None], sin[:, None, None]
        if self.size not in span.turns:  # the same in all blocks and passes
            cos, sin = rotation(span.slots, self.size)
            span.turns[self.size] = cos[:, None, :, None, None], sin[:, None, :, None, None]
        return span.turns[self.size]
