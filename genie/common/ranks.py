"""Collective operations over the processes of a training.

What the processes of a training tell each other about a batch. With one process all of it is the identity.

A rank is one of the `W` processes. Rank r holds every W-th sample of the global batch, from the r-th on
(`StepBatchSampler`), and as many as any other.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """W; 1 where nothing was started."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor of the same shape on each rank, on all of them.

    The gradient of each rank's values is the sum of all ranks' gradients of the sum: what a loss that is the mean
    over ranks needs.
    """
    return values if world_size() == 1 else _Sum.apply(values)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


@torch.no_grad()
def gather_samples(samples: Tensor) -> Tensor:
    """[B, ...] of each rank → [W · B, ...] of all, in the order of the global batch; without a gradient."""
    if world_size() == 1:
        return samples
    parts = [torch.empty_like(samples, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, samples.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


@torch.no_grad()
def from_first(values: Tensor) -> Tensor:
    """The first rank's values, on all ranks: for what is drawn, since each rank draws its own."""
    if world_size() > 1:
        values = values.contiguous()
        dist.broadcast(values, 0)
    return values


@torch.no_grad()
def mean_over_ranks(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means of scalars of the same names over the ranks, in one message."""
    if world_size() == 1:
        return figures
    total = sum_over_ranks(torch.stack([value.float() for value in figures.values()]))
    return dict(zip(figures, total / world_size(), strict=True))
