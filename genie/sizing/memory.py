"""Bytes of a training on each device, by what they are for.

Under FSDP (ZeRO stage 3, arXiv 1910.02054) a device holds its share of each parameter, gradient and moment, and for the
time of its work one whole block.
"""

import math
from dataclasses import dataclass

from torch import nn

from callbacks.startup_report import num_states
from genie.sizing.kept import Kept, blocks_of
from genie.sizing.layout import BYTES, Layout
from genie.stages import Stage

FROZEN_BYTES = 4  # earlier stages are used as they were trained, outside of the strategy


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; the largest share where parameters do not divide.

    parameters, gradients, optimizer: of the trained part, and the state of the optimiser.
    average: the moving average of the weights.
    gathered: under fsdp what is whole for a time: two blocks (the one at work, the next one on its way), the gradients
        of one, and what stands outside of the blocks.
    frozen: earlier stages, and buffers.
    activations: what is kept for the backward pass, as the layout has it; `everything`, `recomputed`: both ways, and
        `copies`, of weights, of either (`Kept`).
    host: bytes that are in the host's memory instead, for each device.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    gathered: int
    frozen: int
    activations: int
    everything: int
    recomputed: int
    copies: int
    host: int

    @property
    def total(self) -> int:
        """All of it on the device. The temporary results of single operations come on top."""
        held = self.parameters + self.gradients + self.optimizer + self.average
        return held + self.gathered + self.frozen + self.activations


def memory_of(stage: Stage, frozen: list[nn.Module], kept: Kept, layout: Layout) -> Memory:
    """The memory of a stage (on any device, the meta device too) behind the `frozen` parts that it needs."""
    model, size = stage.trained(), BYTES[layout.parameters]
    shards = layout.devices if layout.strategy == "fsdp" else 1
    held = sum(share(parameter, shards) for parameter in model.parameters()) * size
    trained = sum(share(parameter, shards) for parameter in model.parameters() if parameter.requires_grad) * size
    gradients, host = trained, 0
    optimizer = size * sum(
        num_states(group) * share(parameter, shards)
        for group in stage.optimizer_groups()
        for _, parameter in group["params"]
        if parameter.requires_grad
    )
    if layout.offload and layout.strategy == "fsdp":
        host = held + gradients + optimizer
        held = gradients = optimizer = 0
    elif layout.offload:  # the moments, and the parameters that they are for, in fp32
        host = (optimizer + trained) // size * BYTES["fp32"]
        optimizer = 0
    whole = sum(parameter.numel() for parameter in model.parameters()) * size
    buffers = sum(buffer.nbytes for buffer in stage.buffers())
    return Memory(
        parameters=held,
        gradients=gradients,
        optimizer=optimizer,
        average=whole if layout.averaged else 0,
        gathered=gathered(model, layout) if layout.strategy == "fsdp" else 0,
        frozen=sum(parameter.numel() for part in frozen for parameter in part.parameters()) * FROZEN_BYTES + buffers,
        activations=kept.recomputed if layout.checkpointing else kept.everything,
        everything=kept.everything,
        recomputed=kept.recomputed,
        copies=kept.copies,
        host=host,
    )


def share(parameter: nn.Parameter, shards: int) -> int:
    """Numbers of a parameter on the device that holds most of it: FSDP2 deals out the rows of its first axis."""
    rows = parameter.shape[0] if parameter.dim() else 1
    return math.ceil(rows / shards) * (parameter.numel() // rows)


def gathered(model: nn.Module, layout: Layout) -> int:
    """Bytes that are whole at once where each block, and all that is outside of the blocks, is brought together."""
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in blocks_of(model)]
    outside = sum(parameter.numel() for parameter in model.parameters()) - sum(sizes)
    return 3 * max(sizes) * BYTES[layout.gathered] + 2 * outside * BYTES[layout.parameters]
