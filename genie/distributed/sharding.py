"""Parallel plan of a model: compilation, activation checkpointing, FSDP2, sharded initialization.

1. Each block of each backbone is compiled in place, so that the names in a checkpoint stay as they are.
2. Each backbone recomputes its blocks in the backward pass instead of keeping their activations.
3. With FSDP2 each block is a unit of sharding, then the rest of the model (embeddings, positions, last norms, heads). A
   unit is gathered when it runs and freed afterwards.

Steps 1 and 2 apply to every strategy; models and stages are independent of all three. No process ever holds a whole
sharded model: it is built without values, sharded, then initialized. Initial values are a function of (seed, parameter
name), so each rank draws one parameter at a time and keeps its rows, bit for bit the weights of every other strategy.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from genie.common.ranks import own_rows
from genie.models.quantizers import LatentHead, VectorQuantizer
from genie.models.st_transformer import Backbone

# In fp32 and whole on every rank for every precision and strategy: near ties decide which code learns, and codebooks
# are written during the forward pass. They have few parameters.
EXACT = (LatentHead, VectorQuantizer)
# methods, besides `forward`, by which a model is called in training
ENTRIES = ("encode", "decode", "score")


def prepare(models: Iterable[nn.Module], compile: bool, activation_checkpointing: bool) -> None:
    """Steps 1 and 2 of the plan."""
    for backbone in (module for model in models for module in model.modules() if isinstance(module, Backbone)):
        if compile:
            for block in backbone.blocks:
                block.compile()
        if activation_checkpointing:
            backbone.activation_checkpointing = True


def exact_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are kept whole and in fp32 (`EXACT`)."""
    return [parameter for module in model.modules() if isinstance(module, EXACT) for parameter in module.parameters()]


def shard(model: nn.Module, mesh: DeviceMesh, gather: torch.dtype | None = None, cpu_offload: bool = False) -> None:
    """Step 3 of the plan, in place: parameters become DTensors of which this rank holds its rows.

    Args:
        model: may have its parameters on the meta device.
        mesh: one axis with all ranks.
        gather: type in which blocks are gathered and computed, None: that of the weights. Gradients are summed in fp32.
        cpu_offload: shards, gradients and the optimizer's state stay in main memory.
    """
    from torch.distributed import fsdp  # takes seconds to import

    pinned = mesh.device_type != "cpu"
    offload = fsdp.CPUOffloadPolicy(pin_memory=pinned) if cpu_offload else fsdp.OffloadPolicy()
    for backbone in [module for module in model.modules() if isinstance(module, Backbone)]:
        for block in backbone.blocks:
            policy = fsdp.MixedPrecisionPolicy(param_dtype=gather, reduce_dtype=torch.float32)
            fsdp.fully_shard(block, mesh=mesh, mp_policy=policy, offload_policy=offload)
    policy = fsdp.MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    exact = set(exact_parameters(model))
    fsdp.fully_shard(model, mesh=mesh, mp_policy=policy, offload_policy=offload, ignored_params=exact)
    for name in ENTRIES:
        if hasattr(model, name):
            fsdp.register_fsdp_forward_method(model, name)


def average_exact_gradients(model: nn.Module, mesh: DeviceMesh) -> None:
    """Registers hooks that average the gradients of `exact_parameters` over all ranks, as FSDP does for the others."""

    def average(parameter: nn.Parameter) -> None:
        # also correct with accumulation: what was averaged before is the same on all ranks
        parameter.grad.div_(mesh.size())
        dist.all_reduce(parameter.grad, group=mesh.get_group())

    for parameter in exact_parameters(model):
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)


class SkipInit(TorchFunctionMode):
    """`torch.nn.init` does nothing: the values that layers draw when they are built are not used."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules built inside have parameters on the meta device; buffers and metrics have values."""

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(parameter.data.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)
    try:
        with SkipInit():
            yield
    finally:
        handle.remove()


def write_own(parameter: Tensor, values: Tensor) -> None:
    """Writes whole `values` to a parameter of which this rank may hold only its rows."""
    if isinstance(parameter, DTensor):
        parameter.to_local().copy_(values[own_rows(parameter)])
    else:
        parameter.copy_(values)


@torch.no_grad()
def materialize(stage, device: torch.device, home: torch.device) -> None:
    """Initializes the weights of a sharded `Stage` after `set_data_info`: shards at `home`, the rest on `device`."""

    def place(tensor: Tensor) -> Tensor:
        there = home if isinstance(tensor, DTensor) else device
        return torch.empty_like(tensor, device=there) if tensor.is_meta else tensor.to(there)

    stage._apply(place)  # `to_empty` would take buffers and metrics, too
    stage.initialize(write_own)
    with implicit_replication():  # the model writes values that are the same on all ranks into replicated tensors
        stage.start_from_background()
