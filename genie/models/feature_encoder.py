"""The trunk of rewards, policies and critics: features of a world to a vector.

Dimension letters: `F` the shape of features, (n,) or (C, h, w), `D` width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureEncoder(nn.Module):
    """Features [..., *F] to hidden values [..., D].

    A map goes through a residual convolution first, and then as a whole into the first layer: what matters of a ball is
    where it is.

    Args:
        feature_shape: (n,) or (C, h, w).
        width: D.
        num_layers: hidden layers of the perceptron, 1 or more.
        num_channels: of the convolutions on a map.
    """

    def __init__(self, feature_shape: tuple[int, ...], width: int, num_layers: int = 2, num_channels: int = 32) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers} must be 1 or more")
        self.feature_shape, self.width = tuple(feature_shape), width
        size = self.feature_shape[0]
        self.lift = self.local = None
        if len(self.feature_shape) == 3:
            channels, height, columns = self.feature_shape
            self.lift = nn.Conv2d(channels, num_channels, 1)
            self.local = nn.Conv2d(num_channels, num_channels, 3, padding=1)
            size = num_channels * height * columns
        layers: list[nn.Module] = []
        for inputs in (size, *[width] * (num_layers - 1)):
            layers += [nn.Linear(inputs, width), nn.RMSNorm(width), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Hidden values [..., D]."""
        lead = features.shape[: -len(self.feature_shape)]
        hidden = features.reshape(-1, *self.feature_shape)
        if self.lift is not None:
            hidden = self.lift(hidden)
            hidden = (hidden + self.local(F.silu(hidden))).flatten(1)
        return self.layers(hidden).view(*lead, self.width)
