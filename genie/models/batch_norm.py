"""Batch normalisation over the batches of all processes together."""

import torch
from torch import Tensor, nn

from genie.common.ranks import sum_over_ranks, world_size


class GlobalBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` without scale and shift; in training on several ranks, mean and variance are those of all.

    In one process it is `nn.BatchNorm1d` to the last bit, with the same names in a checkpoint. (torch's own
    `SyncBatchNorm` runs on GPUs alone.) All ranks hold as many values.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, values: Tensor) -> Tensor:
        """values [M, D] of each rank → [M, D]."""
        if not self.training or world_size() == 1:
            return super().forward(values)
        count = len(values) * world_size()
        mean = sum_over_ranks(values.sum(0)) / count
        centered = values - mean
        variance = sum_over_ranks(centered.square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return centered * torch.rsqrt(variance + self.eps)
