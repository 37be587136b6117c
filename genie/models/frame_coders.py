"""Encoder of single frames to vectors and decoder back, for the neural simulator.

Both ends are those of the tokenizer (`genie.models.patches`): a linear layer on patches, frames measured from the
background, logits that begin at it. Between patches and vector, strided convolutions halve the grid until it is small,
or a ViT runs on it.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` patches, `D` width, `E` the vector.
"""

from einops import rearrange
from torch import Tensor, nn

from genie.models.baselines import build_backbone
from genie.models.patches import Patches, PixelEmbedding, PixelHead

SMALLEST = 4  # rows and columns down to which a grid is halved
EPS = 1e-4  # of the norms, which must not amplify the noise of an empty background
ENCODERS = ("conv", "vit")


def halved(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """The grids from `grid` down to at most `SMALLEST` rows and columns, each half of the last, rounded up."""
    grids = [grid]
    while max(grids[-1]) > SMALLEST:
        rows, columns = grids[-1]
        grids.append((-(-rows // 2), -(-columns // 2)))
    return grids


class Normed(nn.Sequential):
    """Layer norm over the channels of [..., D], then SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.LayerNorm(width, eps=EPS), nn.SiLU())


class Convolution(nn.Conv2d):
    """3x3 convolution on pictures [N, h, w, D]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(pictures.movedim(-1, 1)).movedim(1, -1)


class FrameEncoder(nn.Module):
    """Frames [B, T, C, H, W] in [0, 1] to vectors [B, T, E].

    Args:
        kind: conv | vit.
        channels: of the patches' grid for "conv"; doubled each time it is halved.
        vit: `width`, `num_blocks`, `num_heads` of the transformer for "vit", and `channels` of each patch after it.
    """

    def __init__(self, patches: Patches, kind: str, channels: int, vit: dict) -> None:
        super().__init__()
        if kind not in ENCODERS:
            raise ValueError(f"encoder={kind!r}: choose one of {', '.join(ENCODERS)}")
        self.grid, self.backbone = patches.grid, None
        if kind == "vit":
            vit = dict(vit)
            channels, width = vit.pop("channels"), vit["width"]
            self.embedding = PixelEmbedding(width, patches)
            self.backbone = build_backbone("vit", grid=patches.grid, **vit)
            self.layers = nn.Sequential(nn.Linear(width, channels))
            self.size = patches.num_patches * channels
            return
        grids, layers = halved(patches.grid), []
        self.embedding = PixelEmbedding(channels, patches)
        for _ in grids[1:]:
            layers += [nn.SiLU(), Convolution(channels, 2 * channels, stride=2), nn.LayerNorm(2 * channels, eps=EPS)]
            channels *= 2
        self.layers = nn.Sequential(*layers, nn.SiLU())
        self.size = grids[-1][0] * grids[-1][1] * channels  # E

    def forward(self, frames: Tensor) -> Tensor:
        hidden, batch = self.embedding(frames), len(frames)  # [B, T, S, D]
        if self.backbone is not None:
            return self.layers(self.backbone(hidden)).flatten(2)
        pictures = rearrange(hidden, "b t (h w) d -> (b t) h w d", h=self.grid[0])
        return rearrange(self.layers(pictures), "(b t) h w d -> b t (h w d)", b=batch)


class Enlargement(nn.Module):
    """Twice the rows and columns with half the channels, [N, h, w, 2·D] → [N, *grid, D], cropped to `grid`."""

    def __init__(self, outputs: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.before, self.up = Normed(2 * outputs), nn.Linear(2 * outputs, 4 * outputs)
        self.between, self.local = Normed(outputs), Convolution(outputs, outputs)

    def forward(self, pictures: Tensor) -> Tensor:
        parts = self.up(self.before(pictures))
        large = rearrange(parts, "n h w (p q d) -> n (h p) (w q) d", p=2, q=2)[:, : self.grid[0], : self.grid[1]]
        return large + self.local(self.between(large))


class FrameDecoder(nn.Module):
    """Vectors [B, T, E] of `size` E to logits fp32 [B, T, C, H, W] of frames; `channels` are those of the patches'
    grid, doubled for each grid before it, of half the size."""

    def __init__(self, size: int, patches: Patches, channels: int) -> None:
        super().__init__()
        grids = halved(patches.grid)
        most = channels * 2 ** (len(grids) - 1)
        self.first = grids[-1]
        self.lift = nn.Linear(size, self.first[0] * self.first[1] * most)
        larger = enumerate(reversed(grids[:-1]), 1)
        self.layers = nn.Sequential(*(Enlargement(most >> level, grid) for level, grid in larger), Normed(channels))
        self.to_pixels = PixelHead(channels, patches)

    def forward(self, features: Tensor) -> Tensor:
        batch, (rows, columns) = len(features), self.first
        pictures = rearrange(self.lift(features), "b t (h w d) -> (b t) h w d", h=rows, w=columns)
        return self.to_pixels(rearrange(self.layers(pictures), "(b t) h w d -> b t (h w) d", b=batch))
