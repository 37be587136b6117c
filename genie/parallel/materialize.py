"""Models that no process ever holds whole: built without values, sharded, then given their values shard by shard.

Initial values are a function of (seed, parameter name), so each rank draws one parameter at a time and keeps its rows;
nothing is sent, and the weights are those that every other strategy starts from, bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode


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
