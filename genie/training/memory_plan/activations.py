"""Activation memory and FLOPs of a training step, counted on the meta device.

A training step is run without values, so the paper's model takes no memory and a few seconds. What autograd saves is
recorded as it is saved, each storage once, whatever views of it are saved; parameters are not counted. Functions behave
as on a GPU: PyTorch has no autocast for the meta device, and would take attention apart into products that keep weights
of S x S. What depends on values is left out or taken at its largest: codes are not revived, clips are not moved, and
every token that may be masked is.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from genie.common.errors import UserError
from genie.distributed.sharding import exact_parameters
from genie.models.latent_action import TokenActionModel, TokenActionOutput
from genie.models.quantizers import VectorQuantizer
from genie.models.st_transformer import Backbone
from genie.stages import new_stage
from genie.stages.base import Stage
from genie.stages.cotrain import CotrainStage
from genie.stages.dynamics import DynamicsStage, context_of
from genie.stages.lam import TrainsLatentActions, latent_action_loss

BYTES = {"fp32": 4, "bf16": 2}
# Lightning's names: (type of the parameters, type of the products)
PRECISIONS = {
    "32-true": ("fp32", "fp32"),
    "bf16-mixed": ("fp32", "bf16"),
    "bf16-true": ("bf16", "bf16"),
    "auto": ("fp32", "bf16"),  # every device of the group `hardware` has bf16 instructions
}
# autograd's names of a change of type or of shape: after these, a parameter is a copy or a view of itself
RESHAPING = ("ToCopyBackward0", "TBackward0", "TransposeBackward0", "ViewBackward0", "UnsafeViewBackward0")


@dataclass(frozen=True)
class Layout:
    """Devices and what each of them holds.

    strategy: single, ddp or fsdp.
    devices: in all nodes together.
    parameters, products: types of the parameters that the optimiser changes and of matrix products, of `BYTES`.
        Products in bf16 are autocast's.
    gathered: the type in which fsdp gathers the parameters of a block; without fsdp that of the parameters.
    checkpointing: blocks are recomputed in the backward pass.
    accumulate: batches to one step.
    offload: parameters, gradients and optimiser state (fsdp) or the optimiser state alone are in the host's memory.
    averaged: a moving average of the weights is kept.
    """

    strategy: str
    devices: int
    parameters: str
    products: str
    gathered: str
    checkpointing: bool
    accumulate: int
    offload: bool
    averaged: bool


def layout_of(config: dict[str, Any]) -> Layout:
    """The layout in a resolved configuration of genie.train; UserError for what has no plan."""
    trainer = config["trainer"]
    for key in ("devices", "num_nodes", "accumulate"):
        if not isinstance(trainer[key], int) or trainer[key] == -1:
            raise UserError(f"trainer.{key}={trainer[key]}: a plan needs a number, as in trainer.{key}=8")
    precision = str(trainer["precision"])
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision}: there is a plan for {', '.join(PRECISIONS)}")
    parameters, products = PRECISIONS[precision]
    devices, name = trainer["devices"] * trainer["num_nodes"], str(trainer["strategy"])
    if "fsdp" not in name and name != "auto" and not name.startswith(("ddp", "single")):
        raise UserError(f"trainer.strategy={name}: there is a plan for auto, ddp and fsdp")
    strategy = "fsdp" if "fsdp" in name else "ddp" if devices > 1 else "single"
    return Layout(
        strategy=strategy,
        devices=devices,
        parameters=parameters,
        products=products,
        gathered=trainer["gather_precision"] or parameters,
        checkpointing=trainer["activation_checkpointing"],
        accumulate=trainer["accumulate"],
        offload=config["optimizer"]["cpu_offload"],
        averaged=config["ema"],
    )


class AsOnGPU(TorchFunctionMode):
    """Inside, functions of the meta device save for the backward pass what a GPU's save.

    Args:
        autocast: to bf16. Linear layers and convolutions take inputs and copies of their weights in it, layer norms
            work in fp32. Autocast keeps a copy for the next use; here every weight is used once.
        exact: addresses (`id`) of parameters that autocast does not convert.
    """

    def __init__(self, autocast: bool, exact: set[int]) -> None:
        super().__init__()
        self.autocast, self.exact = autocast, exact

    def __torch_function__(
        self, function: Callable, types: Any, arguments: tuple = (), options: dict | None = None
    ) -> Any:
        options = options or {}
        if function is F.scaled_dot_product_attention:
            return fused_attention(*arguments, **options)
        if self.autocast and function in (F.linear, F.conv2d) and id(arguments[1]) not in self.exact:
            return function(*in_type(torch.bfloat16, arguments), **options)
        if self.autocast and function is F.layer_norm:
            return function(*in_type(torch.float32, arguments), **options)
        return function(*arguments, **options)


def in_type(dtype: torch.dtype, arguments: tuple) -> list[Any]:
    return [argument.to(dtype) if isinstance(argument, Tensor) else argument for argument in arguments]


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """Attention that keeps its inputs, its result and one number for each row: PyTorch's "flash" kernel, and with a
    mask its "efficient" one, which takes the mask as numbers."""
    if attn_mask is None:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, is_causal)[0]
    shape = (*query.shape[:-1], key.shape[-2])
    added = torch.empty(attn_mask.shape, dtype=query.dtype, device=query.device).expand(shape)
    return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, added, True)[0]


def example_loss(stage: Stage, frames: Tensor) -> Tensor:
    """The scalar loss of `stage` on frames uint8 [B, T, C, H, W], without the passes of frozen earlier stages."""
    stage.train()
    for module in stage.modules():
        if isinstance(module, VectorQuantizer):
            module.eval()  # what it does in training depends on values, and keeps nothing
    if isinstance(stage, CotrainStage):
        return _dynamics_loss(stage, frames) + _lam_loss(stage, frames)
    if isinstance(stage, DynamicsStage):
        return _dynamics_loss(stage, frames)
    if isinstance(stage, TrainsLatentActions):
        return _lam_loss(stage, frames)
    return stage.compute({"frames": frames})[0]


def _lam_loss(stage: TrainsLatentActions, frames: Tensor) -> Tensor:
    lam, options = stage.lam, stage.lam_options()
    if isinstance(lam, TokenActionModel):
        tokens = example_tokens(frames, lam.num_tokens)
        output = lam.explain(tokens, True, tokens)
        output = TokenActionOutput(output.logits, output.actions, output.quantizer_loss, tokens, None)
        return latent_action_loss(output, frames, stage.background, options)[0]
    shown = stage.frames({"frames": frames})
    return latent_action_loss(lam(shown), shown, stage.background, options)[0]


def _dynamics_loss(stage: DynamicsStage, frames: Tensor) -> Tensor:
    tokens = example_tokens(frames, stage.model.num_tokens)
    actions, options = tokens[:, 1:, 0], stage.options
    if context_of(options) == "clean":
        hidden, rate = stage.model.hidden_after(tokens, actions, tokens), 1.0
    else:
        hidden, rate = stage.model.hidden(tokens, actions), options["mask_rate"][1]
    most = round(tokens[:, 1:].numel() * rate)  # frame 0 is never masked
    masked = torch.zeros(most, dtype=torch.int64, device=frames.device)
    return stage.model.to_logits.score(hidden.flatten(0, 2)[masked], masked)[0].mean()


def example_tokens(frames: Tensor, size: int) -> Tensor:
    """Tokens int64 [B, T, size] of frames [B, T, C, H, W]: the first code, everywhere."""
    return torch.zeros(*frames.shape[:2], size, dtype=torch.int64, device=frames.device)


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes kept on one device of one batch, and the operations of the forward pass.

    everything: all that autograd saves.
    between: of these what is saved outside of the blocks, and the inputs of the blocks: what activation checkpointing
        keeps.
    block: the most that one block saves.
    copies: of weights in the type of the products, which autocast makes and keeps until the end of the forward pass;
        also in `everything`, and those of a block in `block`.
    flops: of the forward pass with its loss.
    """

    everything: int
    between: int
    block: int
    copies: int
    flops: int

    @property
    def recomputed(self) -> int:
        """The most with activation checkpointing: after the forward pass, or in one block of the backward pass."""
        return self.between + max(self.copies, self.block)


def activation_memory(config: dict[str, Any], batch_size: int, layout: Layout) -> ActivationMemory:
    """The memory and operations of a step of the stage of a resolved configuration on so many clips."""
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
        record = Record(stage.trained())
        saving = torch.autograd.graph.saved_tensors_hooks(record.save, lambda tensor: tensor)
        with AsOnGPU(layout.products == "bf16", exact), FlopCounterMode(display=False) as counter, saving:
            example_loss(stage, frames)
    return ActivationMemory(*record.totals(), counter.get_total_flops())


def blocks_of(model: nn.Module) -> list[nn.Module]:
    return [block for part in model.modules() if isinstance(part, Backbone) for block in part.blocks]


def round_parameters(model: nn.Module, exact: set[int]) -> None:
    """Converts all parameters to bf16, except those of the ids `exact`."""
    for parameter in model.parameters():
        if id(parameter) not in exact:
            parameter.data = parameter.data.bfloat16()


def round_arguments(block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Floating-point tensors in bf16, as FSDP hands them to blocks that it gathers in bf16."""
    return tuple(a.bfloat16() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments)


class Record:
    """What autograd saves of a pass of `model`, by the block of a `Backbone` in which it is saved (None: outside of all
    blocks); `save` is its hook.

    Storages are identified by their address; they are kept, since an address would be reused otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = {tensor.untyped_storage()._cdata for tensor in model.parameters()}
        self.saved: dict[nn.Module | None, dict[int, int]] = defaultdict(dict)  # address: bytes
        self.copies: dict[nn.Module | None, dict[int, int]] = defaultdict(dict)
        self.inputs: dict[int, int] = {}
        self.storages: list[torch.UntypedStorage] = []
        self.block: nn.Module | None = None
        for block in blocks_of(model):
            block.register_forward_pre_hook(self.begin)
            block.register_forward_hook(self.end)

    def begin(self, block: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.block = block
        for argument in arguments:
            if isinstance(argument, Tensor):
                self.note(argument, self.inputs)

    def end(self, *_: Any) -> None:
        self.block = None

    def save(self, tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in self.parameters:
            self.note(tensor, (self.copies if is_copy(tensor) else self.saved)[self.block])
        return tensor.detach()

    def note(self, tensor: Tensor, where: dict[int, int]) -> None:
        storage = tensor.untyped_storage()
        where[storage._cdata] = storage.nbytes()
        self.storages.append(storage)

    def totals(self) -> tuple[int, int, int, int]:
        """`everything`, `between`, `block` and `copies` of an `ActivationMemory`."""
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


def is_copy(tensor: Tensor) -> bool:
    node = tensor.grad_fn
    while type(node).__name__ in RESHAPING:
        node = node.next_functions[0][0]
    return hasattr(node, "variable")


def encoding_flops(config: dict[str, Any], batch_size: int) -> int:
    """Operations of the frozen tokenizer or latent action model of a configuration to encode so many clips."""
    with torch.device("meta"):
        stage = new_stage(config).eval()
        frames = torch.empty(batch_size, config["data"]["num_frames"], *stage.background.shape)
        with AsOnGPU(False, set()), FlopCounterMode(display=False) as counter, torch.no_grad():
            if isinstance(stage.model, TokenActionModel):
                stage.model.latents(example_tokens(frames, stage.model.num_tokens))
            else:
                stage.model.encode(frames)
    return counter.get_total_flops()
