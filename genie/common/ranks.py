"""Collective operations over the ranks of a training; with one process the identity.

Dimension letters: `W` ranks, `B` batch of one rank. Rank r holds every W-th sample of the global batch from the r-th on
(`StepBatchSampler`); all ranks hold the same number.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """W; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks of a tensor of the same shape on each.

    Backward sums the gradients of all ranks, as a loss that is the mean over ranks needs.
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
    """[B, ...] of each rank → [W · B, ...] of all in the order of the global batch; without a gradient."""
    if world_size() == 1:
        return samples
    parts = [torch.empty_like(samples, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, samples.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


@torch.no_grad()
def from_first(values: Tensor) -> Tensor:
    """The first rank's values on all ranks: for random draws, which differ between ranks."""
    if world_size() > 1:
        values = values.contiguous()
        dist.broadcast(values, 0)
    return values


@torch.no_grad()
def mean_over_ranks(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means of named scalars over the ranks, in one message."""
    if world_size() == 1:
        return metrics
    total = sum_over_ranks(torch.stack([value.float() for value in metrics.values()]))
    return dict(zip(metrics, total / world_size(), strict=True))


def own_rows(sharded: Tensor) -> slice:
    """The rows of a sharded tensor (`DTensor`) that this rank holds: FSDP2 cuts the first axis into equal pieces, of
    which the last may be shorter or empty."""
    length, ranks = len(sharded), sharded.device_mesh.size()
    size = -(-length // ranks)
    first = min(sharded.device_mesh.get_local_rank() * size, length)
    return slice(first, min(first + size, length))
