"""Patches of frames of any size, and the layers from patches to hidden states and back.

Dimension letters: `B` batch, `T` frames, `C` channels, `H W` pixels, `S` patches of one frame, `D` width.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Patches:
    """Geometry of square patches with sides of `patch_size` pixels on frames of `image_size` H and W, padded with their
    replicated edge to a multiple."""

    def __init__(self, image_size: Sequence[int], patch_size: int, channels: int = 3) -> None:
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
        size = self.patch_size
        bottom, right = self.grid[0] * size - self.height, self.grid[1] * size - self.width
        if bottom or right:
            padded = F.pad(frames.flatten(0, 1), (0, right, 0, bottom), mode="replicate")
            frames = padded.unflatten(0, frames.shape[:2])
        return rearrange(frames, "b t c (h p) (w q) -> b t (h w) (p q c)", p=size, q=size)

    def still(self, frames: Tensor, tolerance: float = 0.0) -> Tensor:
        """bool [B, T-1, S]: which patches of frames 1…T-1 of [B, T, C, H, W] equal those of the frame before, each
        number to within `tolerance`."""
        return self.cut((frames[:, 1:] - frames[:, :-1]).abs()).amax(-1) <= tolerance

    def join(self, patches: Tensor) -> Tensor:
        """patches [B, T, S, patch_size² · C] → frames [B, T, C, H, W], the padding cropped away."""
        size, (rows, columns) = self.patch_size, self.grid
        frames = rearrange(patches, "b t (h w) (p q c) -> b t c (h p) (w q)", h=rows, w=columns, p=size, q=size)
        return frames[..., : self.height, : self.width]


class PixelEmbedding(nn.Module):
    """Frames to hidden states: a linear layer on each patch, after a typical frame is subtracted (`start_from`). The
    static background would otherwise dominate every hidden state."""

    typical: Tensor

    def __init__(self, width: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.projection = nn.Linear(patches.patch_dim, width)
        self.register_buffer("typical", torch.zeros(patches.num_patches, patches.patch_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → [B, T, S, D]."""
        return self.projection(self.patches.cut(frames) - self.typical)

    def start_from(self, frame: Tensor) -> None:
        """Measures frames from `frame` [C, H, W] in [0, 1] from now on."""
        self.typical.copy_(self.patches.cut(frame[None, None])[0, 0])


class PixelHead(nn.Module):
    """Hidden states to the logits of frames: a linear layer to each patch, plus one learned logit per pixel. The logits
    per pixel start at those of a typical frame (`start_from`), as a classifier's bias starts at the frequencies of its
    classes: the layers below need not learn the static background."""

    def __init__(self, width: int, patches: Patches) -> None:
        super().__init__()
        self.patches = patches
        self.projection = nn.Linear(width, patches.patch_dim)
        self.pixel_bias = nn.Parameter(torch.zeros(patches.num_patches, patches.patch_dim))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden [B, T, S, D] → logits fp32 [B, T, C, H, W] (bf16 would lose small bright objects in the sigmoid)."""
        return self.patches.join(self.projection(hidden).float() + self.pixel_bias.float())

    @torch.no_grad()
    def start_from(self, frame: Tensor) -> None:
        """Starts at the logits of `frame` [C, H, W] in [0, 1], values kept 1/255 away from both ends."""
        logits = torch.logit(frame.float(), eps=1 / 255)
        self.pixel_bias.copy_(self.patches.cut(logits[None, None])[0, 0])
