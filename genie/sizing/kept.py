"""What a training step keeps from its forward pass to its backward pass, and the operations of that pass.

The pass is run on the meta device, so the paper's model takes no memory and a few seconds. What autograd saves is seen
as it is saved, each storage once, whatever views of it are saved; parameters are not counted.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from genie.distributed.sharding import exact_parameters
from genie.models.latent_action import TokenActionModel
from genie.models.st_transformer import Backbone
from genie.sizing.example_step import example_loss, example_tokens
from genie.sizing.kernels import AsOnGPU
from genie.sizing.layout import Layout
from genie.stages import new_stage

# what autograd calls a change of type or of shape: behind these, a parameter is a copy or a view of itself
RESHAPING = ("ToCopyBackward0", "TBackward0", "TransposeBackward0", "ViewBackward0", "UnsafeViewBackward0")


@dataclass(frozen=True)
class Kept:
    """Bytes kept on one device of one batch, and the operations of the forward pass.

    everything: all that autograd saves.
    between: of it what is saved outside of the blocks, and the inputs of the blocks: what activation checkpointing
        keeps.
    block: the most that one block saves.
    copies: of weights in the type of the products, which autocast makes and keeps until the forward pass is over. They
        are in `everything`, and those of a block in `block`.
    flops: of the forward pass with its loss.
    """

    everything: int
    between: int
    block: int
    copies: int
    flops: int

    @property
    def recomputed(self) -> int:
        """The most with activation checkpointing: behind the forward pass, or in one block of the backward pass."""
        return self.between + max(self.copies, self.block)


def kept_by(config: dict[str, Any], batch_size: int, layout: Layout) -> Kept:
    """What a step of the stage of a resolved configuration keeps of a batch of so many clips."""
    with torch.device("meta"):
        stage = new_stage(config)
        exact = {id(parameter) for parameter in exact_parameters(stage)}
        if layout.parameters == "bf16":
            round_parameters(stage, exact)
        if layout.gathered == "bf16":
            for block in blocks_of(stage):
                round_parameters(block, exact)
                block.register_forward_pre_hook(round_arguments)
        frames = torch.empty(batch_size, config["data"]["num_frames"], *stage.background.shape, dtype=torch.uint8)
        with AsOnGPU(layout.products == "bf16", exact), FlopCounterMode(display=False) as counter:
            record = record_of(stage.trained(), lambda: example_loss(stage, frames))
    return Kept(*record.totals(), counter.get_total_flops())


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of all backbones of a model."""
    return [block for part in model.modules() if isinstance(part, Backbone) for block in part.blocks]


def round_parameters(model: nn.Module, exact: set[int]) -> None:
    """All parameters in bf16, but for those of the ids `exact`."""
    for parameter in model.parameters():
        if id(parameter) not in exact:
            parameter.data = parameter.data.bfloat16()


def round_arguments(block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Tensors in bf16, as FSDP hands them to what it gathers in bf16."""
    floats = (torch.is_tensor(argument) and argument.is_floating_point() for argument in arguments)
    return tuple(a.bfloat16() if is_float else a for a, is_float in zip(arguments, floats, strict=True))


class Record:
    """What autograd saved, by the block of a `Backbone` in which it was saved (None: outside of all blocks).

    Storages are known by their address; they are kept, or an address would be given out again.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = {tensor.untyped_storage()._cdata for tensor in model.parameters()}
        self.saved: dict[nn.Module | None, dict[int, int]] = defaultdict(dict)  # address: bytes
        self.copies: dict[nn.Module | None, dict[int, int]] = defaultdict(dict)
        self.inputs: dict[int, int] = {}
        self.storages: list[torch.UntypedStorage] = []
        self.block: nn.Module | None = None

    def begin(self, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A block begins."""
        self.block = block
        for argument in arguments:
            if isinstance(argument, Tensor):
                self.note(argument, self.inputs)

    def end(self, *_: Any) -> None:
        """The block is over."""
        self.block = None

    def save(self, tensor: Tensor) -> Tensor:
        """Autograd saves `tensor`."""
        if tensor.untyped_storage()._cdata not in self.parameters:
            self.note(tensor, (self.copies if is_copy(tensor) else self.saved)[self.block])
        return tensor.detach()

    def note(self, tensor: Tensor, where: dict[int, int]) -> None:
        storage = tensor.untyped_storage()
        where[storage._cdata] = storage.nbytes()
        self.storages.append(storage)

    def totals(self) -> tuple[int, int, int, int]:
        """`everything`, `between`, `block` and `copies` of a `Kept`."""
        everything = {address: size for part in self.saved.values() for address, size in part.items()}
        copies = {block: sum(part.values()) for block, part in self.copies.items()}
        between = self.saved[None] | self.inputs
        blocks = [
            sum(size for address, size in part.items() if address not in between) + copies.get(block, 0)
            for block, part in self.saved.items()
            if block is not None
        ]
        total = sum(copies.values())
        return sum(everything.values()) + total, sum(between.values()), max(blocks), total


def record_of(model: nn.Module, forward: Callable[[], Any]) -> Record:
    """The record of what `forward()`, a pass of `model`, saves; the graph is freed."""
    record = Record(model)
    blocks = blocks_of(model)
    hooks = [block.register_forward_pre_hook(record.begin) for block in blocks]
    hooks += [block.register_forward_hook(record.end) for block in blocks]
    try:
        with torch.autograd.graph.saved_tensors_hooks(record.save, lambda tensor: tensor):
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return record


def is_copy(tensor: Tensor) -> bool:
    """Whether a tensor is a parameter in another type or shape."""
    node = tensor.grad_fn
    while type(node).__name__ in RESHAPING:
        node = node.next_functions[0][0]
    return hasattr(node, "variable")


def encoding_flops(config: dict[str, Any], batch_size: int) -> int:
    """Operations with which the frozen tokenizer or latent action model of a configuration encodes so many clips."""
    with torch.device("meta"):
        stage = new_stage(config).eval()
        frames = torch.empty(batch_size, config["data"]["num_frames"], *stage.background.shape)
        with AsOnGPU(False, set()), FlopCounterMode(display=False) as counter, torch.no_grad():
            if isinstance(stage.model, TokenActionModel):
                stage.model.latents(example_tokens(frames, stage.model.num_tokens))
            else:
                stage.model.encode(frames)
    return counter.get_total_flops()
