"""What rewards and policies read of a Genie world: the quantised latents of its newest frames, as a map.

Dimension letters: `B` worlds, `T` frames, `S` tokens of one frame, `L` latent width, `h w` the grid of the tokens.
"""

import torch
from einops import rearrange
from torch import Tensor

from genie.models import VideoTokenizer
from genie.world.state import WorldState

FEATURE_FRAMES = 4  # a frame does not tell where things are going, and two of them not whether they turn


def feature_shape(tokenizer: VideoTokenizer) -> tuple[int, ...]:
    """(4 · L, h, w)."""
    return FEATURE_FRAMES * tokenizer.quantizer.width, *tokenizer.patches.grid


def state_features(tokenizer: VideoTokenizer, state: WorldState) -> Tensor:
    """[B, 4 · L, h, w] of the newest 4 frames of a state, the oldest first; where fewer are in sight, the oldest of
    them stands for those before it."""
    ends = torch.tensor(state.lengths, device=state.tokens.device)
    return latent_maps(tokenizer, state.tokens, ends[:, None] - 1)[:, 0]


def traced_features(tokenizer: VideoTokenizer, frames: Tensor, window: int) -> Tensor:
    """[B, T, 4 · L, h, w] after each of frames [B, T, C, H, W], of any number; `window`: how many of them are encoded
    together at most. What is beyond it is encoded once for each frame that follows."""
    tokens = tokenizer.encode(frames[:, :window])
    times = torch.arange(tokens.shape[1], device=tokens.device)
    maps = [latent_maps(tokenizer, tokens, times.expand(len(tokens), -1))]
    for end in range(window + 1, frames.shape[1] + 1):
        tokens = tokenizer.encode(frames[:, end - window : end])
        maps.append(latent_maps(tokenizer, tokens, times[-1:].expand(len(tokens), -1)))
    return torch.cat(maps, dim=1)


def latent_maps(tokenizer: VideoTokenizer, tokens: Tensor, times: Tensor) -> Tensor:
    """[B, n, 4 · L, h, w] of the frames `times` int64 [B, n] of tokens [B, T, S], and of those before them."""
    back = torch.arange(FEATURE_FRAMES - 1, -1, -1, device=tokens.device)
    recent = (times[..., None] - back).clamp_min(0)  # [B, n, 4]
    rows = torch.arange(len(tokens), device=tokens.device)[:, None, None]
    latents = tokenizer.quantizer.lookup(tokens[rows, recent]).float()
    height, width = tokenizer.patches.grid
    return rearrange(latents, "b n f (h w) l -> b n (f l) h w", h=height, w=width)
