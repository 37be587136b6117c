"""Frames cut into patches and put together again, for sizes that need not divide.

Dimension letters: `B` batch, `T` frames, `C` channels, `H W` pixels, `S` patches of one frame.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Patches:
    """The geometry of patches: frames are padded with their replicated edge to a multiple of the patch size.

    Args:
        image_size: H and W of a frame in pixels.
        patch_size: side of a square patch in pixels.
        channels: C.
    """

    def __init__(self, image_size: tuple[int, int], patch_size: int, channels: int = 3) -> None:
        height, width = image_size
        if min(height, width, patch_size) < 1:
            raise ValueError(f"image_size={image_size} and patch_size={patch_size} must be positive")
        self.height, self.width, self.patch_size, self.channels = height, width, patch_size, channels
        self.grid = (math.ceil(height / patch_size), math.ceil(width / patch_size))
        self.num_patches = self.grid[0] * self.grid[1]
        self.patch_dim = patch_size * patch_size * channels

    def cut(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] → patches [B, T, S, patch_size² · C]."""
        if frames.shape[2:] != (self.channels, self.height, self.width):
            raise ValueError(
                f"frames of shape {tuple(frames.shape[2:])} (channels, height, width) do not fit this model, which "
                f"takes {(self.channels, self.height, self.width)}"
            )
        bottom = self.grid[0] * self.patch_size - self.height
        right = self.grid[1] * self.patch_size - self.width
        if bottom or right:
            batch = frames.shape[0]
            frames = F.pad(rearrange(frames, "b t c h w -> (b t) c h w"), (0, right, 0, bottom), mode="replicate")
            frames = rearrange(frames, "(b t) c h w -> b t c h w", b=batch)
        size = self.patch_size
        return rearrange(frames, "b t c (h p) (w q) -> b t (h w) (p q c)", p=size, q=size)

    def still(self, frames: Tensor, tolerance: float = 0.0) -> Tensor:
        """bool [B, T-1, S]: which patches of frames 1…T-1 of [B, T, C, H, W] show what they showed in the frame before,
        each number to within `tolerance`."""
        return self.cut((frames[:, 1:] - frames[:, :-1]).abs()).amax(-1) <= tolerance

    def join(self, patches: Tensor) -> Tensor:
        """patches [B, T, S, patch_size² · C] → frames [B, T, C, H, W], the padding cropped away."""
        size, (rows, columns) = self.patch_size, self.grid
        frames = rearrange(patches, "b t (h w) (p q c) -> b t c (h p) (w q)", h=rows, w=columns, p=size, q=size)
        return frames[..., : self.height, : self.width]


class PixelEmbedding(nn.Module):
    """Frames to hidden states: a linear layer from each patch, after a typical frame is taken off (`start_from`).

    What never changes would otherwise be the largest part of every hidden state, and a ball in it a rounding error.
    """

    def __init__(self, width: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.projection = nn.Linear(patches.patch_dim, width)
        self.register_buffer("typical", torch.zeros(patches.num_patches, patches.patch_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → [B, T, S, D]."""
        return self.projection(self.patches.cut(frames) - self.typical)

    def start_from(self, frame: Tensor) -> None:
        """Measure frames from `frame` [C, H, W] in [0, 1] from now on."""
        self.typical.copy_(self.patches.cut(frame[None, None])[0, 0])


class PixelHead(nn.Module):
    """Hidden states to the logits of frames: a linear layer to each patch, plus one learned logit per pixel.

    The logits per pixel start at those of a typical frame (`start_from`), as a classifier's bias starts at the
    frequencies of its classes: what never changes need not be learned by the layers below.
    """

    def __init__(self, width: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.projection = nn.Linear(width, patches.patch_dim)
        self.pixel_bias = nn.Parameter(torch.zeros(patches.num_patches, patches.patch_dim))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden [B, T, S, D] → logits fp32 [B, T, C, H, W] (bf16 would lose small bright things in the sigmoid)."""
        return self.patches.join(self.projection(hidden).float() + self.pixel_bias.float())

    @torch.no_grad()
    def start_from(self, frame: Tensor) -> None:
        """Begin at the logits of `frame` [C, H, W] in [0, 1], values kept 1/255 away from both ends."""
        logits = torch.logit(frame.float(), eps=1 / 255)
        self.pixel_bias.copy_(self.patches.cut(logits[None, None])[0, 0])
