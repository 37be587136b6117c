"""The norm of all gradients where several processes train one model, each with all of them or with its shards."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients taken together, fp32, the same on all ranks.

    Squares are summed in fp64: however the gradients are cut, the rounded result is one and the same, and with it what
    sharded and unsharded training clip to.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    device = (sharded[0].to_local() if sharded else whole[0]).device if gradients else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for gradient in sharded:
        total += squares(gradient.to_local())
    if sharded:
        dist.all_reduce(total, group=sharded[0].device_mesh.get_group())
    for gradient in whole:
        total += squares(gradient).to(total.device)
    return total.sqrt().float()


def squares(gradient: Tensor) -> Tensor:
    """The sum of the squares, fp64."""
    return torch.linalg.vector_norm(gradient, dtype=torch.float64).square()


@torch.no_grad()
def clip_by_norm(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their norm is at most `largest`."""
    parameters = list(parameters)
    scale = (largest / (gradient_norm(parameters) + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        if parameter.grad is not None:
            gradient = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
            gradient.mul_(scale.to(gradient.device))
