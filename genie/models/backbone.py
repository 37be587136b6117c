"""What stands between embeddings and heads: a network from hidden states to hidden states.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genie.models.cache import Span


class Backbone(nn.Module):
    """The one protocol of the networks that the tokenizer's encoder and decoder can be.

    Attributes:
        blocks: the residual blocks, each [B, T, S, D] → [B, T, S, D].
        norm: the last layer.
        activation_checkpointing: while training, compute each block again in the backward pass instead of keeping what
            it computed.
    """

    blocks: nn.ModuleList
    norm: nn.LayerNorm
    activation_checkpointing = False

    @property
    def num_caches(self) -> int:
        """Blocks that keep keys and values of past frames; 0 where every frame is worked on alone."""
        return len(self.blocks)

    def run(self, block: nn.Module, *arguments) -> Tensor:
        """A block's output."""
        if self.activation_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False)
        return block(*arguments)

    def forward(self, x: Tensor, condition: Tensor | None = None, span: Span | None = None) -> Tensor:
        """x [B, T, S, D] → [B, T, S, D]; frame t of the result depends on frames ≤ t.

        `condition` [B, T, D] for networks that take one; `span`: x are new frames behind those of a cache.
        """
        raise NotImplementedError
