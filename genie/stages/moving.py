"""Whole scenes moved about, so that a model cannot tell by its place what something means."""

import torch
from torch import Tensor

from genie.common.random import Stream, fold_in


def move_scene(frames: Tensor, background: Tensor, seeds: Tensor, rows: int = 0, columns: int = 0) -> Tensor:
    """Clips in which everything that differs from the background stands elsewhere, by one offset per clip.

    Args:
        frames: [B, T, C, H, W] in [0, 1].
        background: [C, H, W]; it stays where it is.
        seeds: int64 [B], the samples' seeds, each of which gives the offset of its clip.
        rows, columns: largest offset in pixels, to either side; what leaves at one edge comes in at the other.
    """
    height, width = frames.shape[-2:]
    offsets = []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(fold_in(seed, Stream.MOVED_SCENE))
        offsets.append([int(torch.randint(-most, most + 1, (), generator=generator)) for most in (rows, columns)])
    down, right = torch.tensor(offsets, device=frames.device).T[:, :, None]  # [B, 1] each
    y = (torch.arange(height, device=frames.device) - down) % height  # [B, H]: where a row comes from
    x = (torch.arange(width, device=frames.device) - right) % width
    clip = torch.arange(len(frames), device=frames.device)[:, None, None]
    moved = (frames - background)[clip, :, :, y[:, :, None], x[:, None, :]]  # [B, H, W, T, C]
    return background + moved.permute(0, 3, 4, 1, 2)
