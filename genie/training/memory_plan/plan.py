"""Plan of one stage: bytes of each device by purpose, operations, tokens and time.

Under FSDP (ZeRO stage 3, arXiv 1910.02054) a device holds its share of each parameter, gradient and moment, and for the
time of its work one whole block.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from callbacks.startup_report import num_states
from genie.stages import Stage, new_stage, stage_type
from genie.training.memory_plan.activations import (
    BYTES,
    ActivationMemory,
    Layout,
    activation_memory,
    blocks_of,
    encoding_flops,
    layout_of,
)

FROZEN_BYTES = 4  # of a number: earlier stages are used as they were trained, outside of the strategy
BACKWARD = 2  # a backward pass takes a product for each of the two factors of a forward product
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; the largest share where parameters do not divide.

    parameters, gradients, optimizer: of the trained part, and the state of the optimiser.
    average: the moving average of the weights.
    gathered: under fsdp what is whole for a time: two blocks (the one at work, the next one on its way), the gradients
        of one, and what is outside of the blocks.
    frozen: earlier stages, and buffers.
    activations: those of this layout; `everything`, `recomputed` and `copies` as in `ActivationMemory`.
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
        """All bytes on the device, without the temporary results of single operations."""
        held = self.parameters + self.gradients + self.optimizer + self.average
        return held + self.gathered + self.frozen + self.activations


def memory_of(stage: Stage, frozen: list[nn.Module], kept: ActivationMemory, layout: Layout) -> Memory:
    """The memory of a stage, which may be on the meta device, with the `frozen` parts that it needs."""
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
    """Numbers of a parameter on the device that holds most of it: FSDP2 shards the rows of its first axis."""
    rows = parameter.shape[0] if parameter.dim() else 1
    return math.ceil(rows / shards) * (parameter.numel() // rows)


def gathered(model: nn.Module, layout: Layout) -> int:
    """Bytes that are whole at once where each block, and all that is outside of the blocks, is gathered."""
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in blocks_of(model)]
    outside = sum(parameter.numel() for parameter in model.parameters()) - sum(sizes)
    return 3 * max(sizes) * BYTES[layout.gathered] + 2 * outside * BYTES[layout.parameters]


@dataclass(frozen=True)
class Batch:
    """Clips of a step: `clips` on each device at a time, `given` by the user or as shares of the recipe's `wanted`."""

    clips: int
    devices: int
    accumulate: int
    wanted: int
    given: bool

    @property
    def step(self) -> int:
        return self.clips * self.devices * self.accumulate


@dataclass(frozen=True)
class Work:
    """Operations, tokens and time on all devices together.

    forward: operations of the forward passes of a step, trained part; `frozen`: of earlier stages.
    step: model operations of a step: forward and backward pass, and the frozen passes; `executed`: with those that
        activation checkpointing repeats.
    training: model operations of all steps; `tokens`: those of their clips.
    seconds: of the training at the given share of the devices' peak.
    """

    forward: int
    frozen: int
    step: int
    executed: int
    training: int
    tokens: int
    seconds: float


def batch_of(config: dict[str, Any], devices: int, accumulate: int, given: bool) -> Batch:
    """`given`: data.batch_size is the user's; otherwise it is a share of the recipe's clips, rounded up."""
    wanted = config["recipe"][config["stage"]["name"]]["batch_size"]
    clips = config["data"]["batch_size"] if given else math.ceil(wanted / (devices * accumulate))
    return Batch(clips, devices, accumulate, wanted, given)


def work_of(
    config: dict[str, Any], batch: Batch, tokens_per_frame: int, forward: int, frozen: int, again: bool, speed: float
) -> Work:
    """`forward`, `frozen`: operations of the passes on `batch.clips` clips; `again`: blocks are recomputed; `speed`:
    operations of all devices in a second."""
    passes = batch.devices * batch.accumulate
    steps = config["trainer"]["max_steps"]
    step = ((1 + BACKWARD) * forward + frozen) * passes
    executed = step + forward * passes if again else step
    return Work(
        forward=forward * passes,
        frozen=frozen * passes,
        step=step,
        executed=executed,
        training=step * steps,
        tokens=batch.step * config["data"]["num_frames"] * tokens_per_frame * steps,
        seconds=executed * steps / speed,
    )


@dataclass(frozen=True)
class StagePlan:
    """`parameters`: of the trained part; `steps`: of the optimiser; `fits`: into the memory of a device."""

    stage: str
    parameters: int
    steps: int
    layout: Layout
    batch: Batch
    memory: Memory
    work: Work
    fits: bool

    @property
    def other_total(self) -> int:
        """Bytes on a device with activation checkpointing where the layout has none, and the other way round."""
        memory = self.memory
        return memory.total + memory.everything + memory.recomputed - 2 * memory.activations

    def numbers(self) -> dict[str, Any]:
        """The plan as plain containers, with the sums."""
        numbers = asdict(self)
        numbers["memory"]["total"] = self.memory.total
        numbers["batch"]["step"] = self.batch.step
        return numbers


def plan_stage(config: dict[str, Any], others: dict[str, dict[str, Any]], batch_given: bool) -> StagePlan:
    """The plan of a resolved configuration of plan_memory; `others`: those of the same command for the other stages.

    Raises UserError for a configuration that cannot be trained or has no plan.
    """
    layout, device, name = layout_of(config), config["hardware"], config["stage"]["name"]
    batch = batch_of(config, layout.devices, layout.accumulate, batch_given)
    needed = [others[part] | {"data": config["data"]} for part in stage_type(config).needs(config)]
    with torch.device("meta"):
        stage = new_stage(config)
        frozen = [new_stage(part).model for part in needed]
    kept = activation_memory(config, batch.clips, layout)
    memory = memory_of(stage, frozen, kept, layout)
    speed = device["flops"] * device["utilization"] * layout.devices
    encoding = sum(encoding_flops(part, batch.clips) for part in needed)
    work = work_of(config, batch, stage.tokens_per_frame, kept.flops, encoding, layout.checkpointing, speed)
    return StagePlan(
        stage=name,
        parameters=sum(parameter.numel() for parameter in stage.trained().parameters()),
        steps=config["trainer"]["max_steps"],
        layout=layout,
        batch=batch,
        memory=memory,
        work=work,
        fits=memory.total <= device["memory_gib"] * GIBIBYTE,
    )
