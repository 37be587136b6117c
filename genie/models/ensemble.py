"""Several networks at once: the layers of an ensemble, its members one product.

Dimension letters: `M` members, `N` rows.
"""

import torch
from torch import Tensor, nn


class EnsembleLinear(nn.Linear):
    """A linear layer for each member: [M, N, inputs] → [M, N, outputs].

    The weights are those of one layer with M times the outputs, of which each member owns a stretch.
    """

    def __init__(self, num_members: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, num_members * outputs)
        self.num_members = num_members

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(0, (self.num_members, -1))  # [M, outputs, inputs]
        return torch.baddbmm(self.bias.view(self.num_members, 1, -1), x, weight.mT)


class EnsembleNorm(nn.Module):
    """RMS-norm over the last axis of [M, N, D], with a scale for each member."""

    def __init__(self, num_members: int, width: int) -> None:
        super().__init__()
        self.num_members, self.width = num_members, width
        self.scale = nn.Parameter(torch.ones(num_members * width))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, (self.width,)) * self.scale.view(self.num_members, 1, -1)


class Ensemble(nn.Sequential):
    """Perceptrons [M, N, inputs] → [M, N, outputs], one for each member, that differ in their weights alone."""

    def __init__(self, num_members: int, inputs: int, outputs: int, width: int, num_layers: int) -> None:
        if min(num_members, num_layers, width) < 1:
            raise ValueError(f"num_members={num_members}, num_layers={num_layers}, width={width} must be 1 or more")
        layers: list[nn.Module] = []
        for size in (inputs, *[width] * (num_layers - 1)):
            layers += [EnsembleLinear(num_members, size, width), EnsembleNorm(num_members, width), nn.SiLU()]
        super().__init__(*layers, EnsembleLinear(num_members, width, outputs))
