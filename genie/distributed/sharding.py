"""Sharding plan, and weights built shard by shard.

The parallel plan: what of a model is compiled, computed again and sharded, and in which order.

1. Each block of each backbone is compiled in place, so that the names in a checkpoint stay as they are.
2. Each backbone computes its blocks again in the backward pass instead of keeping what they computed (activation
   checkpointing).
3. With FSDP2 each block is a unit of sharding, then the rest of the model is one: embeddings, positions, last norms,
   heads. A unit is gathered when it runs and freed behind it.

The first two are for every strategy. Models and stages know of none of this.

Models that no process ever holds whole: built without values, sharded, then given their values shard by shard.

Initial values are a function of (seed, parameter name), so each rank draws one parameter at a time and keeps its rows;
nothing is sent, and the weights are those that every other strategy starts from, bit for bit.
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

from genie.models.quantizers import LatentHead, VectorQuantizer
from genie.models.st_transformer import Backbone

# In fp32 and whole on every rank, whatever precision and strategy: near ties decide which code learns, and a codebook
# is written to while a forward pass runs. Their parameters are few.
EXACT = (LatentHead, VectorQuantizer)
# methods, besides `forward`, by which a model that is being trained is called
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
    """The parameters that are kept whole and in fp32."""
    return [parameter for module in model.modules() if isinstance(module, EXACT) for parameter in module.parameters()]


def shard(model: nn.Module, mesh: DeviceMesh, gather: torch.dtype | None = None, cpu_offload: bool = False) -> None:
    """Step 3 of the plan, in place: parameters become DTensors of which this rank holds its rows.

    Args:
        model: one whose blocks take most of its parameters; they may be on the meta device.
        mesh: of one axis, all ranks.
        gather: in what blocks are gathered and computed, None: in what their weights are. Gradients are summed in fp32.
        cpu_offload: shards, gradients and the optimiser's state stay in main memory.
    """
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        MixedPrecisionPolicy,
        OffloadPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    pinned = mesh.device_type != "cpu"
    offload = CPUOffloadPolicy(pin_memory=pinned) if cpu_offload else OffloadPolicy()
    for backbone in [module for module in model.modules() if isinstance(module, Backbone)]:
        for block in backbone.blocks:
            policy = MixedPrecisionPolicy(param_dtype=gather, reduce_dtype=torch.float32)
            fully_shard(block, mesh=mesh, mp_policy=policy, offload_policy=offload)
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    exact = set(exact_parameters(model))
    fully_shard(model, mesh=mesh, mp_policy=policy, offload_policy=offload, ignored_params=exact)
    for name in ENTRIES:
        if hasattr(model, name):
            register_fsdp_forward_method(model, name)


def average_exact_gradients(model: nn.Module, mesh: DeviceMesh) -> None:
    """From now on the gradients of what is kept whole are the mean over all ranks, as FSDP makes those of the rest."""

    def average(parameter: nn.Parameter) -> None:
        # Also right where gradients accumulate: what was averaged before is the same on all ranks.
        parameter.grad.div_(mesh.size())
        dist.all_reduce(parameter.grad, group=mesh.get_group())

    for parameter in exact_parameters(model):
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(average)


class SkipInit(TorchFunctionMode):
    """`torch.nn.init` does nothing: layers draw values when they are built, which nobody will look at."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules built inside have parameters without values, on the meta device; buffers and metrics are as always."""

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:
        return nn.Parameter(parameter.data.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)
    try:
        with SkipInit():
            yield
    finally:
        handle.remove()


def own_rows(sharded: DTensor) -> slice:
    """The rows of a tensor that this rank holds: FSDP2 cuts the first axis into equal pieces, the last ones of them
    shorter or empty."""
    length, ranks = len(sharded), sharded.device_mesh.size()
    size = -(-length // ranks)
    first = min(sharded.device_mesh.get_local_rank() * size, length)
    return slice(first, min(first + size, length))


def write_own(parameter: Tensor, values: Tensor) -> None:
    """Give a parameter, of which this rank may hold only its rows, its values, all of which are given."""
    if isinstance(parameter, DTensor):
        parameter.to_local().copy_(values[own_rows(parameter)])
    else:
        parameter.copy_(values)


@torch.no_grad()
def materialize(stage, device: torch.device, home: torch.device) -> None:
    """Give a sharded `Stage` its initial weights: shards at `home`, everything else on `device`.

    It has been told of its data (`set_data_info`) before.
    """

    def place(tensor: Tensor) -> Tensor:
        there = home if isinstance(tensor, DTensor) else device
        return torch.empty_like(tensor, device=there) if tensor.is_meta else tensor.to(there)

    stage._apply(place)  # `to_empty` would take buffers and metrics, too
    stage.initialize(write_own)
    with implicit_replication():  # the model writes what all ranks know into what they share
        stage.start_from_background()
