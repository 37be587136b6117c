"""Encoders and decoders beside the ST-Transformer: ViT, C-ViViT, convolutions, patch MLP.

Sources: Genie (arXiv 2402.15391) §3.4, table 3: a ViT that sees single frames, and C-ViViT (Phenaki, arXiv 2210.02399)
with full attention in space and time; the convolutional VQ-VAE (arXiv 1711.00937 §4.1), one frame at a time.

A block of each has the parameters of an ST block of that width (16 D² in its matrices), so networks of equal
`num_blocks` are of equal size: the parameters of temporal attention go to the feed-forward.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width, `N` heads, `E` head size, `P` visible
frames.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from genie.models.attention import SelfAttention, Turn, attend
from genie.models.kv_cache import Layer, Span
from genie.models.st_transformer import Backbone, FeedForward, STTransformer

# the parameters of an ST block, 16 D² = (8 + 2·4) D², for
WIDE = 6.0  # mlp_ratio with one attention: 4 + 2·6
ALONE = 8.0  # mlp_ratio without attention: 2·8
CONVOLUTION = 1.6  # hidden width of a 3x3 and a 1x1 convolution: 9·1.6 + 1.6


class SpatialAttention(SelfAttention):
    """Attention among the tokens of each frame: x [B, T, S, D]."""

    def forward(
        self, x: Tensor, layer: Layer | None = None, bias: Tensor | None = None, turn: Turn | None = None
    ) -> Tensor:
        return super().forward(x, None, bias, turn)  # a frame sees no others, cached or not


class SpaceTimeAttention(SelfAttention):
    """Full attention: each token sees all tokens of its own and of earlier frames. Cost and memory O((T·S)²). Rotary
    positions count frames, as in the ST-Transformer; the learned ones distinguish places within a frame."""

    def forward(
        self, x: Tensor, layer: Layer | None = None, bias: Tensor | None = None, turn: Turn | None = None
    ) -> Tensor:
        """x [B, T, S, D]; `layer`: x are new frames of a cache. `bias` and `turn`, for attention in space alone, are
        None."""
        length, size = x.shape[1:3]
        query, key, value = self.project(x.transpose(1, 2), layer and layer.span)  # [B, S, N, T, E]
        if layer is None:
            visible = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        else:
            key, value = layer.span.update(layer.block, key, value)
            visible = torch.arange(key.shape[-2], device=x.device) <= layer.span.slots[..., None]  # [R or 1, t, P]
        query, key, value = (rearrange(part, "b s n t e -> b n (t s) e") for part in (query.to(key.dtype), key, value))
        mask = visible.repeat_interleave(size, 1).repeat_interleave(size, 2)[:, None]  # [B or 1, 1, T·S, P·S]
        out = attend(query, key, value, causal=False, mask=mask).to(x.dtype)
        return self.out(rearrange(out, "b n (t s) e -> b t s (n e)", s=size))


class AttentionBlock(nn.Module):
    """One pre-norm block of one attention and a feed-forward. For the arguments see `STBlock`."""

    attention_type: type[SelfAttention]

    def __init__(
        self,
        width: int,
        num_heads: int,
        head_dim: int | None = None,
        mlp_ratio: float = WIDE,
        rotary: bool = True,
        qk_norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        modulated: bool = False,
    ) -> None:
        super().__init__()
        if modulated:
            raise ValueError("modulated=True: only the ST-Transformer takes a condition")
        self.attention_norm = nn.LayerNorm(width)
        self.attention = self.attention_type(width, num_heads, head_dim, rotary=rotary, qk_norm=qk_norm, bias=bias)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, mlp_ratio, bias)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        layer: Layer | None = None,
        bias: Tensor | None = None,
        turn: Turn | None = None,
    ) -> Tensor:
        """x [B, T, S, D] → [B, T, S, D]; `condition` is ignored."""
        x = x + self.dropout(self.attention(self.attention_norm(x), layer, bias, turn))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class SpatialBlock(AttentionBlock):
    """Attention within each frame, without rotary positions, which would number its tokens as a sequence."""

    attention_type = SpatialAttention

    def __init__(self, *arguments, rotary: bool = False, **options) -> None:
        super().__init__(*arguments, rotary=False, **options)


class SpaceTimeBlock(AttentionBlock):
    attention_type = SpaceTimeAttention


class SpatialTransformer(STTransformer):
    """A ViT on each frame alone, without temporal layers and positions in time."""

    block_type = SpatialBlock

    def __init__(self, *arguments, mlp_ratio: float = WIDE, temporal_positions: str = "rotary", **options) -> None:
        super().__init__(*arguments, mlp_ratio=mlp_ratio, **options)

    @property
    def num_caches(self) -> int:
        return 0


class SpaceTimeTransformer(STTransformer):
    """C-ViViT: full attention in space and time, causal over frames."""

    block_type = SpaceTimeBlock

    def __init__(self, *arguments, mlp_ratio: float = WIDE, **options) -> None:
        super().__init__(*arguments, mlp_ratio=mlp_ratio, **options)
        if self.turned_size is not None:
            raise ValueError("spatial_positions: c_vivit attends to space and time at once; leave it learned")


class ConvolutionalBlock(nn.Module):
    """One pre-norm residual block on the grid of a frame's tokens: a 3x3 convolution, GELU, a 1x1 convolution."""

    def __init__(self, width: int, grid: tuple[int, int], dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.grid, hidden = tuple(grid), round(CONVOLUTION * width)
        self.norm = nn.LayerNorm(width)
        self.spatial = nn.Conv2d(width, hidden, 3, padding=1, bias=bias)
        self.pointwise = nn.Linear(hidden, width, bias=bias)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, S, D] → [B, T, S, D]."""
        rows, batch = self.grid[0], len(x)
        pictures = rearrange(self.norm(x), "b t (h w) d -> (b t) d h w", h=rows)
        hidden = rearrange(self.spatial(pictures), "(b t) d h w -> b t (h w) d", b=batch)
        return x + self.dropout(self.pointwise(F.gelu(hidden)))


class FrameNetwork(Backbone):
    """Blocks of one argument and a final norm; frames are independent."""

    @property
    def num_caches(self) -> int:
        return 0

    def forward(self, x: Tensor, condition: Tensor | None = None, span: Span | None = None) -> Tensor:
        for block in self.blocks:
            x = self.run(block, x)
        return self.norm(x)


class ConvolutionalNetwork(FrameNetwork):
    """Residual convolutions on each frame's grid of tokens, with the arguments of `STTransformer`; without attention
    `num_heads` and `head_dim` are ignored."""

    def __init__(
        self,
        width: int,
        num_blocks: int,
        num_heads: int,
        grid: tuple[int, int],
        head_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvolutionalBlock(width, grid, dropout, bias) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)


class PatchBlock(nn.Module):
    """One pre-norm residual feed-forward on each token alone."""

    def __init__(self, width: int, mlp_ratio: float = ALONE, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, mlp_ratio, bias)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] → [..., D]."""
        return x + self.dropout(self.feed_forward(self.norm(x)))


class PatchNetwork(FrameNetwork):
    """Residual perceptrons on each token alone, without its position.

    A token changes only when the pixels of its patch do: attention and 3x3 convolutions let changes elsewhere leak into
    every token, as noise that the dynamics has to predict. Takes the arguments of `STTransformer`, for a decoder of
    that kind, and ignores those of attention and positions.
    """

    def __init__(
        self,
        width: int,
        num_blocks: int,
        num_heads: int,
        grid: tuple[int, int],
        head_dim: int | None = None,
        mlp_ratio: float = ALONE,
        temporal_positions: str = "rotary",
        spatial_positions: str = "learned",
        max_frames: int = 16,
        qk_norm: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.blocks = nn.ModuleList(PatchBlock(width, mlp_ratio, dropout, bias) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)


ARCHITECTURES: dict[str, type[Backbone]] = {
    "st_vivit": STTransformer,
    "vit": SpatialTransformer,
    "c_vivit": SpaceTimeTransformer,
    "conv": ConvolutionalNetwork,
    "patch_mlp": PatchNetwork,
}


def build_backbone(architecture: str, *arguments, option: str = "architecture", **options) -> Backbone:
    """The network of that name from the arguments of `STTransformer`; ValueError names the `option` of an unknown
    one."""
    if architecture not in tuple(ARCHITECTURES):  # a list is unhashable
        raise ValueError(f"{option}={architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](*arguments, **options)
