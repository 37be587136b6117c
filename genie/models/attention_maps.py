"""Attention weights for pictures: what does one token look at, in space and in time?

A debugging path: in normal use no weights are ever written out (`attend`). Here a hook on every attention layer takes
the layer's input and works out the weights of a single query, [N, P] numbers a layer, beside the forward pass.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `P` positions attended over, `D` width, `N` heads.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genie.common.device import full_precision
from genie.models.attention import SelfAttention, Turn
from genie.models.baselines import SpatialBlock
from genie.models.st_transformer import Backbone, STBlock, STTransformer


@dataclass
class AttentionMaps:
    """Weights by number of the block, fp32 on the CPU, that sum to 1: `space` [N, S] over the tokens of the chosen
    frame (those beyond the grid first), `time` [N, T] over the frames at the chosen place, 0 for later ones and, of a
    network that sees each frame alone, for all others."""

    space: dict[int, Tensor] = field(default_factory=dict)
    time: dict[int, Tensor] = field(default_factory=dict)


def attention_weights(layer: SelfAttention, x: Tensor, position: int | None = None, turn: Turn | None = None) -> Tensor:
    """The weights that a layer's forward pass of `x` [..., P, D] (turned by `turn`) uses: [..., N, P] of the query at
    `position`, or [..., N, P, P] of all queries."""
    query, key, _ = layer.project(x, turn=turn)
    positions = torch.arange(x.shape[-2], device=x.device)
    asked = positions if position is None else positions[position][None]
    with full_precision(x):
        scores = query[..., asked, :].float() @ key.float().mT / query.shape[-1] ** 0.5
    if layer.causal:
        scores = scores.masked_fill(positions > asked[:, None], float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights if position is None else weights[..., 0, :]


def has_attention_maps(backbone: Backbone) -> bool:
    """Whether `recorded_attention` can show what a network looks at: a transformer in which space and time, if it looks
    at that at all, are attended to in turn. Others have no attention, or one over both at once."""
    return all(isinstance(block, STBlock | SpatialBlock) for block in backbone.blocks)


@contextmanager
def recorded_attention(
    transformer: STTransformer, place: int, frame: int = -1, clip: int = 0, blocks: list[int] | None = None
) -> Iterator[AttentionMaps]:
    """Records what one token attends to in the forward passes made inside; of several passes the last one stays.

        with recorded_attention(tokenizer.encoder, place=12) as maps:
            tokenizer.encode(frames)
        maps.space[0]  # [N, S]

    Args:
        transformer: the one that runs (`has_attention_maps`); whole clips, not frames behind a cache (ValueError).
        place: of the token in its frame's grid, row by row.
        frame, clip: which frame of which clip of the batch.
        blocks: numbers of the blocks; None for all.
    """
    token = place + transformer.num_extra  # tokens beyond the grid come first
    maps = AttentionMaps()

    def record(block: int, found: dict[int, Tensor], row: int, position: int) -> Callable:
        def hook(layer: SelfAttention, arguments: tuple) -> None:
            if len(arguments) > 1 and arguments[1] is not None:
                raise ValueError("attention maps are made of whole clips: run the model without a cache")
            turn = arguments[3] if len(arguments) > 3 else None
            found[block] = attention_weights(layer, arguments[0][clip, row], position, turn).detach().cpu()

        return hook

    with ExitStack() as hooks:
        for number in range(len(transformer.blocks)) if blocks is None else blocks:
            block = transformer.blocks[number]
            in_space, in_time = record(number, maps.space, frame, token), record(number, maps.time, token, frame)
            if isinstance(block, SpatialBlock):
                hooks.enter_context(block.attention.register_forward_pre_hook(in_space))
                hooks.enter_context(block.attention.register_forward_pre_hook(_alone(maps, number, frame)))
                continue
            hooks.enter_context(block.spatial.register_forward_pre_hook(in_space))  # its input is [B, T, S, D]
            hooks.enter_context(block.temporal.register_forward_pre_hook(in_time))  # its input is [B, S, T, D]
        yield maps


def _alone(maps: AttentionMaps, number: int, frame: int) -> Callable:
    """Notes that block `number` looks at no frame but the token's own."""

    def hook(layer: SelfAttention, arguments: tuple) -> None:
        maps.time[number] = torch.zeros(layer.num_heads, arguments[0].shape[1])
        maps.time[number][:, frame] = 1

    return hook
