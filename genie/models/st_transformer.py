"""ST-Transformer: spatial attention within a frame, causal attention in time, one feed-forward.

Source: Genie (arXiv 2402.15391) §2.1, figure 4. Cost and memory grow as O(T·S² + S·T²), never as (T·S)².

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `n` chosen places of one, `D` width, `E` head size,
`R` rows and `t` new frames of a cache.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genie.models.attention import SelfAttention, Turn, grid_rotation, head_size
from genie.models.kv_cache import CleanContext, Layer, Span


class Backbone(nn.Module):
    """Protocol of the tokenizer's encoders and decoders, from hidden states to hidden states.

    Attributes:
        blocks: the residual blocks, each [B, T, S, D] → [B, T, S, D].
        norm: the last layer.
        activation_checkpointing: while training, recompute each block in the backward pass instead of storing its
            activations.
    """

    blocks: nn.ModuleList
    norm: nn.LayerNorm
    activation_checkpointing = False

    @property
    def num_caches(self) -> int:
        """Blocks that keep keys and values of past frames; 0 where frames are independent."""
        return len(self.blocks)

    def run(self, block: nn.Module, *arguments) -> Tensor:
        """A block's output, checkpointed where that is set."""
        if self.activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False)
        return block(*arguments)

    def forward(self, x: Tensor, condition: Tensor | None = None, span: Span | None = None) -> Tensor:
        """x [B, T, S, D] → [B, T, S, D]; frame t of the result depends on frames ≤ t. `condition` [B, T, D] for
        networks that take one; `span`: x are new frames after those of a cache."""
        raise NotImplementedError


class FeedForward(nn.Sequential):
    """Linear, GELU, linear, with a hidden width of `ratio` times the width."""

    def __init__(self, width: int, ratio: float = 4.0, bias: bool = True) -> None:
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden, bias=bias), nn.GELU(), nn.Linear(hidden, width, bias=bias))


class FeatureModulation(nn.Module):
    """FiLM: scale and shift per frame from a conditioning vector (arXiv 1709.07871)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.projection(condition).unsqueeze(2).chunk(2, dim=-1)  # [B, T, 1, D]
        return x * (1 + scale) + shift


@dataclass(frozen=True)
class Thin:
    """A sample of the places of a frame's grid, the same in all frames of a clip, that represents all of them.

    Attributes:
        places: int64 [B, n] in [0, S).
        counts: float [B, n] > 0, the number of places that each represents; they sum to S.
    """

    places: Tensor
    counts: Tensor

    def of(self, tokens: Tensor) -> Tensor:
        """tokens [B, T, S] → those at these places [B, T, n]."""
        return tokens.gather(2, self.places[:, None].expand(-1, tokens.shape[1], -1))

    def bias(self, size: int) -> Tensor:
        """fp32 [B, 1, 1, 1, size], added to the logits of attention in space: a key counts as often as it represents
        places. `size`: n plus the tokens beyond the grid, which come first and count once."""
        return F.pad(self.counts.float().log(), (size - self.counts.shape[1], 0))[:, None, None, None]


class STBlock(nn.Module):
    """One pre-norm block: attention in space, attention in time, feed-forward (none between them, as in the paper).

    Args:
        width, num_heads, head_dim, qk_norm, bias: see `SelfAttention`.
        mlp_ratio: hidden width of the feed-forward over the width.
        rotary: rotary positions in time.
        dropout: on each of the three residual branches.
        modulated: accept a conditioning vector per frame (FiLM on every norm).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int | None = None,
        mlp_ratio: float = 4.0,
        rotary: bool = True,
        qk_norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        modulated: bool = False,
    ) -> None:
        super().__init__()
        options = {"head_dim": head_dim, "qk_norm": qk_norm, "bias": bias}
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = SelfAttention(width, num_heads, **options)
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal = SelfAttention(width, num_heads, causal=True, rotary=rotary, **options)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, mlp_ratio, bias)
        self.modulations = nn.ModuleList(FeatureModulation(width) for _ in range(3)) if modulated else None
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def _modulate(self, index: int, x: Tensor, condition: Tensor | None) -> Tensor:
        return x if self.modulations is None else self.modulations[index](x, condition)

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        layer: Layer | None = None,
        bias: Tensor | None = None,
        turn: Turn | None = None,
    ) -> Tensor:
        """x [B, T, S, D], condition [B, T, D] → [B, T, S, D]. Frame t of the result depends on frames ≤ t. `layer`: x
        are new frames of a cache; `bias`, `turn`: of the attention in space."""
        x = x + self.dropout(self.spatial(self._modulate(0, self.spatial_norm(x), condition), None, bias, turn))
        in_time = self._modulate(1, self.temporal_norm(x), condition).transpose(1, 2)  # [B, S, T, D]
        x = x + self.dropout(self.temporal(in_time, layer).transpose(1, 2))
        return x + self.dropout(self.feed_forward(self._modulate(2, self.feed_forward_norm(x), condition)))


class STTransformer(Backbone):
    """A stack of ST blocks with positions and a final norm.

    Args:
        width: D.
        num_blocks: blocks of spatial + temporal attention + feed-forward. The paper's `num_layers` counts
            attention layers: half as many blocks give its published sizes.
        grid: rows and columns of a frame's tokens, for the learned 2-D spatial positions.
        extra_tokens: tokens of a frame beyond the grid (a prepended action), with positions of their own.
        temporal_positions: "rotary" (relative: windows slide, other lengths load) or "learned" (an absolute
            table of `max_frames` entries; longer clips raise ValueError).
        spatial_positions: "learned" (a table of the grid's places), or "rotary": queries and keys are also rotated by
            row and column, so that attention to neighbours is the same everywhere, and the table stays for absolute
            places; or "relative": rotary with one vector for all places, so that only its neighbours tell a place.
        activation_checkpointing: see `Backbone`.
        num_heads, head_dim, mlp_ratio, qk_norm, bias, dropout, modulated: see `STBlock`.
    """

    block_type: type[nn.Module] = STBlock  # with the arguments and the `forward` of an `STBlock`

    def __init__(
        self,
        width: int,
        num_blocks: int,
        num_heads: int,
        grid: tuple[int, int],
        extra_tokens: int = 0,
        head_dim: int | None = None,
        mlp_ratio: float = 4.0,
        temporal_positions: str = "rotary",
        spatial_positions: str = "learned",
        max_frames: int = 16,
        qk_norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        modulated: bool = False,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if temporal_positions not in ("rotary", "learned"):
            raise ValueError(f"temporal_positions={temporal_positions!r}: choose rotary or learned")
        if spatial_positions not in ("learned", "rotary", "relative"):
            raise ValueError(f"spatial_positions={spatial_positions!r}: choose learned, rotary or relative")
        relative, size = spatial_positions == "relative", head_size(width, num_heads, head_dim)
        if relative and extra_tokens:
            raise ValueError("spatial_positions=relative: a token beyond the grid needs a place; choose rotary")
        self.grid, self.activation_checkpointing = (grid[0], grid[1]), activation_checkpointing
        self.num_extra = extra_tokens  # tokens of a frame beyond the grid, which come first
        places = 1 if relative else grid[0] * grid[1] + extra_tokens
        self.spatial_positions = nn.Parameter(torch.zeros(places, width))
        self.turned_size = None if spatial_positions == "learned" else size  # of rotated heads
        if size % 4 and self.turned_size is not None:
            raise ValueError(
                f"spatial_positions={spatial_positions} turns heads by row and column: "
                f"their size, {size}, is not 4, 8, …"
            )
        learned = temporal_positions == "learned"
        self.temporal_positions = nn.Parameter(torch.zeros(max_frames, width)) if learned else None
        self.blocks = nn.ModuleList(
            self.block_type(
                width, num_heads, head_dim, mlp_ratio, rotary=not learned, qk_norm=qk_norm, bias=bias,
                dropout=dropout, modulated=modulated,
            )
            for _ in range(num_blocks)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)

    def turn(self, device: torch.device, thin: Thin | None = None) -> Turn | None:
        """Cosine and sine [S, 1, 1, E/2] ([B, 1, n, 1, 1, E/2] with `thin`) of the rotation in attention in space; None
        without. Tokens beyond the grid are rotated like its first."""
        if self.turned_size is None:
            return None
        places = torch.arange(self.grid[0] * self.grid[1], device=device) if thin is None else thin.places[:, None]
        places = F.pad(places, (self.num_extra, 0))
        rows, columns = places // self.grid[1], places % self.grid[1]
        cos, sin = grid_rotation(rows, columns, self.turned_size)
        return cos[..., None, None, :], sin[..., None, None, :]

    def add_positions(self, x: Tensor, span: Span | CleanContext | None = None, thin: Thin | None = None) -> Tensor:
        """x [B, T, S, D] plus the learned positions."""
        if thin is None or len(self.spatial_positions) == 1:
            x = x + self.spatial_positions
        else:
            beyond = torch.arange(self.num_extra, device=x.device).expand(len(x), -1)
            x = x + self.spatial_positions[torch.cat([beyond, thin.places + self.num_extra], dim=1)][:, None]
        if self.temporal_positions is not None:
            end = x.shape[1] if span is None else span.end
            if end > len(self.temporal_positions):
                raise ValueError(
                    f"a clip of {end} frames is longer than the learned table of "
                    f"{len(self.temporal_positions)}; use temporal_positions=rotary or a larger max_frames"
                )
            table = self.temporal_positions[:end] if span is None else self.temporal_positions[span.slots]
            x = x + table[..., None, :]
        return x

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        span: Span | CleanContext | None = None,
        thin: Thin | None = None,
    ) -> Tensor:
        """x [B, T, S, D], condition [B, T, D] or None → [B, T, S, D]. `span`: x are new frames [R, t, S, D] of a cache
        and see the earlier ones there. `thin`: x holds some of the places of a frame alone."""
        x = self.add_positions(x, span, thin)
        bias, turn = None if thin is None else thin.bias(x.shape[2]), self.turn(x.device, thin)
        for number, block in enumerate(self.blocks):
            layer = None if span is None else Layer(span, number)
            x = self.run(block, x, condition, layer, bias, turn)
        return self.norm(x)
