"""Attention weights of one token over space and time, for plots.

In normal use no weights are ever materialised (`attend`). Here a hook on every attention layer takes the layer's input
and computes the weights of a single query, [N, P] numbers per layer, beside the forward pass.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `P` positions attended over, `D` width, `N` heads.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from genie.common.device import full_precision
from genie.models.attention import SelfAttention, Turn
from genie.models.baselines import SpatialBlock
from genie.models.st_transformer import Backbone, STBlock, STTransformer


@dataclass
class AttentionMaps:
    """Weights by block number, fp32 on the CPU, that sum to 1: `space` [N, S] over the tokens of the chosen frame
    (those beyond the grid first), `time` [N, T] over the frames at the chosen place, 0 for later ones and, in a network
    that sees each frame alone, for all others."""

    space: dict[int, Tensor] = field(default_factory=dict)
    time: dict[int, Tensor] = field(default_factory=dict)


def attention_weights(layer: SelfAttention, x: Tensor, position: int | None = None, turn: Turn | None = None) -> Tensor:
    """Weights of a layer's forward pass on `x` [..., P, D] (rotated by `turn`): [..., N, P] of the query at `position`,
    or [..., N, P, P] of all queries."""
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
    """Whether `recorded_attention` works on a network: a transformer that attends to space and time (if at all) in
    turn. Others have no attention, or one over both at once."""
    return all(isinstance(block, STBlock | SpatialBlock) for block in backbone.blocks)


@contextmanager
def recorded_attention(
    transformer: STTransformer, place: int, frame: int = -1, clip: int = 0, blocks: list[int] | None = None
) -> Iterator[AttentionMaps]:
    """Records what one token attends to in the forward passes inside; the last pass overwrites earlier ones.

        with recorded_attention(tokenizer.encoder, place=12) as maps:
            tokenizer.encode(frames)
        maps.space[0]  # [N, S]

    Args:
        transformer: one with `has_attention_maps`; ValueError where it runs frames of a cache instead of whole clips.
        place: of the token in its frame's grid, row by row.
        frame, clip: which frame of which clip of the batch.
        blocks: their numbers; None for all.
    """
    token = place + transformer.num_extra  # tokens beyond the grid come first
    maps = AttentionMaps()

    def record(block: int, found: dict[int, Tensor], row: int, position: int) -> Callable:
        def hook(layer: SelfAttention, arguments: tuple[Tensor, *tuple[Any, ...]]) -> None:
            if len(arguments) > 1 and arguments[1] is not None:
                raise ValueError("attention maps are made of whole clips: run the model without a cache")
            turn = arguments[3] if len(arguments) > 3 else None
            found[block] = attention_weights(layer, arguments[0][clip, row], position, turn).detach().cpu()

        return hook

    def alone(block: int, layer: SelfAttention, arguments: tuple) -> None:  # no frame is seen but the token's own
        maps.time[block] = torch.zeros(layer.num_heads, arguments[0].shape[1])
        maps.time[block][:, frame] = 1

    with ExitStack() as hooks:
        for number in range(len(transformer.blocks)) if blocks is None else blocks:
            block = transformer.blocks[number]
            in_space, in_time = record(number, maps.space, frame, token), record(number, maps.time, token, frame)
            if isinstance(block, SpatialBlock):
                hooks.enter_context(block.attention.register_forward_pre_hook(in_space))
                hooks.enter_context(block.attention.register_forward_pre_hook(partial(alone, number)))
                continue
            assert isinstance(block, STBlock), "has_attention_maps comes first"
            hooks.enter_context(block.spatial.register_forward_pre_hook(in_space))  # its input is [B, T, S, D]
            hooks.enter_context(block.temporal.register_forward_pre_hook(in_time))  # its input is [B, S, T, D]
        yield maps
