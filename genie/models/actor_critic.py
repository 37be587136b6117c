"""Actor and critic on the features of a world (DreamerV3, arXiv 2301.04104).

Dimension letters: `F` the shape of features, (n,) or (C, h, w), `A` actions, or the numbers of one, `D` width.
"""

import math
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.random import FrameNoise, Stream, derive
from genie.models.heads import FeatureEncoder, TwoHotHead

UNIFORM_SHARE = 0.01  # share of the probability that is spread evenly over all actions (DreamerV3)
SPREAD = (0.1, 1.0)  # bounds of the standard deviation, before tanh (DreamerV3)
LARGEST_MEAN = 5.0  # before tanh: beyond it gradients vanish (DreamerV2, arXiv 2010.02193)
LARGEST_ACTION = 0.999  # the log-probability of ±1 is infinite
NODES = 16  # of the quadrature for the entropy of the tanh


class CategoricalActions:
    """Distribution over A actions from float `logits` [..., A]."""

    noise_size = 1

    def __init__(self, logits: Tensor) -> None:
        chosen = logits.float().softmax(-1)
        self.probabilities = (1 - UNIFORM_SHARE) * chosen + UNIFORM_SHARE / chosen.shape[-1]
        self.logs = self.probabilities.log()

    def sample(self, noise: Tensor) -> Tensor:
        """int64 [...] from uniform `noise` [..., 1] in [0, 1), deterministically."""
        return (noise >= self.probabilities.cumsum(-1)[..., :-1]).sum(-1)

    def mode(self) -> Tensor:
        """The most likely action, int64 [...]."""
        return self.probabilities.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """[...], in nats."""
        return self.logs.gather(-1, actions[..., None])[..., 0]

    def entropy(self) -> Tensor:
        """[...], in nats."""
        return -(self.probabilities * self.logs).sum(-1)


class TanhNormal:
    """Distribution over A numbers in (-1, 1), the tanh of independent normal ones, clamped to ±`LARGEST_ACTION`.
    `values` [..., 2 · A] hold means and spreads before their bounds."""

    def __init__(self, values: Tensor) -> None:
        mean, spread = values.float().chunk(2, -1)
        low, high = SPREAD
        self.mean = LARGEST_MEAN * torch.tanh(mean / LARGEST_MEAN)
        self.std = low + (high - low) * torch.sigmoid(spread + 2)  # begins near the upper end
        self.noise_size = mean.shape[-1]

    def sample(self, noise: Tensor) -> Tensor:
        """[..., A] from uniform `noise` [..., A] in [0, 1), deterministically."""
        normal = torch.special.ndtri(noise.clamp(5e-7, 1 - 5e-7))
        return torch.tanh(self.mean + self.std * normal).clamp(-LARGEST_ACTION, LARGEST_ACTION)

    def mode(self) -> Tensor:
        """The tanh of the means, [..., A]."""
        return torch.tanh(self.mean).clamp(-LARGEST_ACTION, LARGEST_ACTION)

    def log_prob(self, actions: Tensor) -> Tensor:
        """[...], log-density in nats."""
        before = torch.atanh(actions.float().clamp(-LARGEST_ACTION, LARGEST_ACTION))
        normal = -0.5 * ((before - self.mean) / self.std).square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return (normal - log_slope(before)).sum(-1)

    def entropy(self) -> Tensor:
        """[...], in nats: that of the normal numbers plus the mean log-slope of tanh, by Gauss-Hermite quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        nodes = torch.as_tensor(nodes, dtype=self.mean.dtype, device=self.mean.device)
        weights = torch.as_tensor(weights / weights.sum(), dtype=self.mean.dtype, device=self.mean.device)
        slopes = log_slope(self.mean[..., None] + self.std[..., None] * nodes)  # [..., A, nodes]
        normal = 0.5 * math.log(2 * math.pi * math.e) + self.std.log()
        return (normal + (slopes * weights).sum(-1)).sum(-1)


def log_slope(values: Tensor) -> Tensor:
    """ln(1 - tanh²(x)) without cancellation."""
    return 2 * (math.log(2) - values - F.softplus(-2 * values))


class Actor(nn.Module):
    """Features [..., *F] to a distribution over actions, uniform (or centred) at first; one of `num_actions` for whole
    numbers and `action_size` for numbers in [-1, 1] is A, the other None."""

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        num_actions: int | None,
        action_size: int | None,
        width: int,
        num_layers: int,
    ) -> None:
        super().__init__()
        if (num_actions is None) == (action_size is None):
            raise ValueError(f"num_actions={num_actions} and action_size={action_size}: give one of them")
        self.is_discrete = num_actions is not None
        self.distribution = CategoricalActions if self.is_discrete else TanhNormal
        self.encoder = FeatureEncoder(feature_shape, width, num_layers)
        self.head = nn.Linear(width, num_actions or 2 * cast(int, action_size))
        self.head.starts_at_zero = True  # pyright: ignore[reportArgumentType]

    def forward(self, features: Tensor) -> CategoricalActions | TanhNormal:
        return self.distribution(self.head(self.encoder(features)))


class Critic(nn.Module):
    """Features [..., *F] to a distribution over bins of the expected return."""

    def __init__(self, feature_shape: tuple[int, ...], width: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = FeatureEncoder(feature_shape, width, num_layers)
        self.head = TwoHotHead(width)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [..., K] of the `TwoHotHead`."""
        return self.head(self.encoder(features))

    def value(self, features: Tensor) -> Tensor:
        """Expected return [...]."""
        return self.head.mean(self(features))


def action_noise(seeds: Tensor, number: int, size: int) -> Tensor:
    """Uniform float [B, size] in [0, 1) for decision `number` in worlds with `seeds` int64 [B]."""
    return FrameNoise(derive(seeds, Stream.POLICY_ACTION), torch.full_like(seeds, number)).uniform(0, size)
