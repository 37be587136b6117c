"""Tokenizer networks beside the ST-Transformer: ViT, C-ViViT, convolutions, patch MLP.

The networks that the tokenizer's encoder and decoder can be beside the ST-Transformer, behind the same protocol.

Sources: Genie (arXiv 2402.15391) §3.4, table 3: a ViT that sees single frames, and C-ViViT (Phenaki, arXiv 2210.02399)
with full attention in space and time; the convolutional VQ-VAE (arXiv 1711.00937 §4.1), one frame at a time. Beside
these a perceptron that sees one patch alone.

A block of each has the parameters of an ST block of that width (16 D² in its matrices), so at equal `num_blocks` the
networks are of one size: what temporal attention has there, the feed-forward has here.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width, `N` heads, `E` head size, `P` frames in
sight.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from genie.models.attention import SelfAttention, Turn, attend
from genie.models.kv_cache import Layer, Span
from genie.models.st_transformer import Backbone, FeedForward, STTransformer

WIDE = 6.0  # mlp_ratio at which one attention and a feed-forward have as many weights as an ST block: 4 + 2·6 = 8 + 2·4
ALONE = 8.0  # mlp_ratio at which a feed-forward without attention has: 2·8 = 8 + 2·4
CONVOLUTION = 1.6  # hidden width at which 3x3 and 1x1 convolutions do: 9·1.6 + 1.6 = 16


class SpatialAttention(SelfAttention):
    """Attention among the tokens of each frame: x [B, T, S, D]."""

    def forward(
        self, x: Tensor, layer: Layer | None = None, bias: Tensor | None = None, turn: Turn | None = None
    ) -> Tensor:
        return super().forward(x, None, bias, turn)  # a frame has no past here, cached or not


class SpaceTimeAttention(SelfAttention):
    """Full attention: each token sees all tokens of its own and of earlier frames. Cost and memory O((T·S)²).

    Rotary positions count frames, as in the ST-Transformer; places within a frame are told by the learned ones.
    """

    def forward(
        self, x: Tensor, layer: Layer | None = None, bias: Tensor | None = None, turn: Turn | None = None
    ) -> Tensor:
        """x [B, T, S, D]; `layer`: x are new frames of a cache, which keeps all tokens of the earlier ones. `bias` and
        `turn`, of attention in space alone, are None."""
        length, size = x.shape[1:3]
        query, key, value = self.project(x.transpose(1, 2), layer and layer.span)  # [B, S, N, T, E]
        if layer is None:
            visible = torch.ones(1, length, length, dtype=torch.bool, device=x.device).tril()
        else:
            key, value = layer.span.update(layer.block, key, value)
            visible = _visible(layer.span, key.shape[-2])
        query, key, value = (rearrange(part, "b s n t e -> b n (t s) e") for part in (query.to(key.dtype), key, value))
        mask = visible.repeat_interleave(size, 1).repeat_interleave(size, 2)[:, None]  # [B or 1, 1, T·S, P·S]
        out = attend(query, key, value, causal=False, mask=mask).to(x.dtype)
        return self.out(rearrange(out, "b n (t s) e -> b t s (n e)", s=size))


def _visible(span: Span, length: int) -> Tensor:
    """bool [R or 1, t, P]: which of the `length` frames in sight each new frame sees."""
    return torch.arange(length, device=span.device) <= span.slots[..., None]


class AttentionBlock(nn.Module):
    """One pre-norm block: one attention, then a feed-forward. For the arguments see `STBlock`."""

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
        """x [B, T, S, D] → [B, T, S, D]; `condition` is not looked at."""
        x = x + self.dropout(self.attention(self.attention_norm(x), layer, bias, turn))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class SpatialBlock(AttentionBlock):
    """Attention within each frame; without rotary positions, which would number its tokens as if they were in a row."""

    attention_type = SpatialAttention

    def __init__(self, *arguments, rotary: bool = False, **options) -> None:
        super().__init__(*arguments, rotary=False, **options)


class SpaceTimeBlock(AttentionBlock):
    """Attention over all tokens of all frames so far."""

    attention_type = SpaceTimeAttention


class SpatialTransformer(STTransformer):
    """A ViT for each frame alone, with no temporal layers and no positions in time."""

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
            raise ValueError("spatial_positions=rotary: c_vivit attends to space and time at once; leave it learned")


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
    """Blocks of one argument, a final norm, and nothing that is kept from frame to frame."""

    @property
    def num_caches(self) -> int:
        return 0

    def forward(self, x: Tensor, condition: Tensor | None = None, span: Span | None = None) -> Tensor:
        for block in self.blocks:
            x = self.run(block, x)
        return self.norm(x)


class ConvolutionalNetwork(FrameNetwork):
    """Residual convolutions on each frame alone. The pixel embedding before it, a convolution whose stride is its size,
    brings the frame to the grid of tokens, and the pixel head behind the decoder back to pixels.

    Args:
        width, num_blocks, grid, bias, dropout: see `STTransformer`.
        num_heads, head_dim: not looked at: there is no attention.
    """

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
    """One pre-norm residual feed-forward on each token by itself."""

    def __init__(self, width: int, mlp_ratio: float = ALONE, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, mlp_ratio, bias)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] → [..., D]."""
        return x + self.dropout(self.feed_forward(self.norm(x)))


class PatchNetwork(FrameNetwork):
    """Residual perceptrons on each token alone: it sees its patch of its frame, and does not know where that is.

    So a token changes when the pixels of its patch do, and never else: what happens elsewhere in the picture, which
    attention and 3x3 convolutions let into every token a little, is no noise that a dynamics has to predict.

    Args:
        width, num_blocks, mlp_ratio, bias, dropout, activation_checkpointing: see `STTransformer`.
        num_heads, grid, head_dim, qk_norm, temporal_positions, spatial_positions, max_frames: not looked at: there are
            no attention and no positions. They are the decoder's, where that is another network.
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
    """The network of that name from the arguments of `STTransformer`; ValueError for another name, which was given as
    `option`."""
    if architecture not in tuple(ARCHITECTURES):  # a list cannot be looked up
        raise ValueError(f"{option}={architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](*arguments, **options)
