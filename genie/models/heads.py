"""Heads on the features of a world's states: action vectors, rewards, ends, values.

Rewards and values are distributions over bins evenly spaced in symlog (DreamerV3, arXiv 2301.04104, §Critic): a target
between two bins weighs both, so that the mean is the target, and gradients do not grow with the size of the numbers.
Preferences over segments: Christiano et al. 2017 (arXiv 1706.03741) §2.2.3, a segment is worth the sum over its states.

Dimension letters: `A` actions, or their numbers, `F` the shape of features, (n,) or (C, h, w), `D` width, `K` bins.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import full_precision

KINDS = ("state", "trajectory", "preference")


class ActionVectors(nn.Module):
    """Actions int64 [...] in 0 … A-1 (A = `num_actions`), which become one-hot, or float [..., A] in [-1, 1]
    (A = `action_size`) to float vectors [..., A]; ValueError unless exactly one A is given."""

    def __init__(self, num_actions: int | None, action_size: int | None) -> None:
        super().__init__()
        if (num_actions is None) == (action_size is None):
            raise ValueError(f"num_actions={num_actions} and action_size={action_size}: exactly one of them is given")
        self.num_actions, self.action_size = num_actions, action_size

    @property
    def size(self) -> int:
        """A."""
        return self.num_actions or cast(int, self.action_size)

    def forward(self, actions: Tensor) -> Tensor:
        if self.num_actions is None:
            return actions.float()
        return (actions[..., None] == torch.arange(self.num_actions, device=actions.device)).float()


class FeatureEncoder(nn.Module):
    """Features [..., *F] to hidden values [..., D]. A map passes a residual convolution with `num_channels` and is then
    flattened, since the positions of objects matter; a perceptron with `num_layers` ≥ 1 hidden layers of `width` D
    follows."""

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
        lead = features.shape[: -len(self.feature_shape)]
        hidden = features.reshape(-1, *self.feature_shape)
        if self.lift is not None and self.local is not None:
            hidden = self.lift(hidden)
            hidden = (hidden + self.local(F.silu(hidden))).flatten(1)
        return self.layers(hidden).view(*lead, self.width)


def symlog(values: Tensor) -> Tensor:
    """sign(x) · ln(1 + |x|): the identity near 0, a logarithm far from it."""
    return values.sign() * values.abs().log1p()


def symexp(values: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return values.sign() * values.abs().expm1()


class TwoHotHead(nn.Module):
    """From hidden values [..., D] to a distribution over `num_bins` numbers between symexp(-limit) and symexp(limit).
    Uniform at first, so with mean 0. Raises ValueError for an even number of bins: 0 has to be one of them."""

    bins: Tensor

    def __init__(self, width: int, num_bins: int = 63, limit: float = 7.0) -> None:
        super().__init__()
        if num_bins < 3 or num_bins % 2 == 0:
            raise ValueError(f"num_bins={num_bins} must be odd, and 3 or more")
        self.linear = zero_linear(width, num_bins)
        positive = torch.linspace(0, limit, num_bins // 2 + 1)
        self.register_buffer("bins", torch.cat([-positive[1:].flip(0), positive]), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits fp32 [..., K]."""
        return self.linear(hidden).float()

    def mean(self, logits: Tensor) -> Tensor:
        """Expected number [...], summed over pairs of opposite bins: exactly 0 for a symmetric distribution."""
        weighted = logits.softmax(-1) * symexp(self.bins)
        half = len(self.bins) // 2
        return (weighted[..., half + 1 :] + weighted[..., :half].flip(-1)).sum(-1) + weighted[..., half]

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy [...] in nats with the two-hot `target` [...]; numbers beyond the last bin are clamped."""
        return -(self.two_hot(target) * F.log_softmax(logits, -1)).sum(-1)

    def two_hot(self, target: Tensor) -> Tensor:
        """Weights [..., K] of the two bins around each number, whose mean is the number."""
        numbers, target = symexp(self.bins), target.float()
        target = target.clamp(numbers[0], numbers[-1])
        above = torch.searchsorted(numbers, target.contiguous()).clamp(1, len(numbers) - 1)
        low, high = numbers[above - 1], numbers[above]
        share = ((target - low) / (high - low)).clamp(0, 1)[..., None]
        below = F.one_hot(above - 1, len(numbers)) * (1 - share)
        return below + F.one_hot(above, len(numbers)) * share


@dataclass(frozen=True)
class Judged:
    """Predictions from features [..., *F] about the step that led to them.

    Attributes:
        reward: [...], the expected reward; of a preference model, in units of its own.
        continues: [...] in [0, 1], the probability that the episode continues; 1 where ends were never seen.
        continue_logits: [...], of that probability.
        reward_logits: [..., K] of the bins of a "state" model or a simulator; None for others.
    """

    reward: Tensor
    continues: Tensor
    continue_logits: Tensor
    reward_logits: Tensor | None

    @property
    def signs(self) -> Tensor:
        """Probabilities [..., 3] of a negative, zero and positive reward, from `reward_logits`."""
        assert self.reward_logits is not None
        shares = self.reward_logits.softmax(-1)
        half = shares.shape[-1] // 2
        return torch.stack([shares[..., :half].sum(-1), shares[..., half], shares[..., half + 1 :].sum(-1)], dim=-1)


class RewardModel(nn.Module):
    """Features [..., *F] of the state *after* a step to its reward and the continuation of the episode.

    Args:
        feature_shape: F, (n,) or (C, h, w).
        kind: "state": a distribution over rewards (`TwoHotHead`). "trajectory", "preference": one number, of which
            only sums over segments are trained.
        width, num_layers, num_channels: of the `FeatureEncoder`.
        num_bins, limit: of a "state" model's head: rewards up to ±(e^limit - 1) are distinguished.

    Predicts a reward of 0 at first. Raises ValueError for an unknown kind and invalid sizes.
    """

    knows_ends: Tensor

    def __init__(
        self,
        feature_shape: tuple[int, ...],
        kind: str,
        width: int,
        num_layers: int,
        num_channels: int,
        num_bins: int | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
        if min(width, num_channels) < 1:
            raise ValueError(f"width={width} and num_channels={num_channels} must be 1 or more")
        self.kind = kind
        self.encoder = FeatureEncoder(tuple(feature_shape), width, num_layers, num_channels)
        self.reward = (
            TwoHotHead(width, cast(int, num_bins), cast(float, limit)) if kind == "state" else zero_linear(width)
        )
        self.ends = zero_linear(width)
        self.register_buffer("knows_ends", torch.zeros((), dtype=torch.bool))  # whether any data recorded them

    def forward(self, features: Tensor) -> Judged:
        hidden = self.encoder(features)
        continue_logits = self.ends(hidden)[..., 0].float()
        continues = torch.where(self.knows_ends, continue_logits.sigmoid(), torch.ones_like(continue_logits))
        logits = self.reward(hidden)
        if not isinstance(self.reward, TwoHotHead):
            return Judged(logits[..., 0].float(), continues, continue_logits, None)
        return Judged(self.reward.mean(logits), continues, continue_logits, logits)


def zero_linear(width: int, outputs: int = 1) -> nn.Linear:
    """A linear layer whose outputs are 0 at first."""
    layer = nn.Linear(width, outputs)
    layer.starts_at_zero = True  # pyright: ignore[reportArgumentType]
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def segment_return(rewards: Tensor, discount: float) -> Tensor:
    """Σ discount^t · reward_t [B] of rewards [B, n]."""
    powers = discount ** torch.arange(rewards.shape[1], device=rewards.device)
    return (rewards * powers).sum(1)


class OutcomeHeads(nn.Module):
    """Reward (a `TwoHotHead`) and continuation from features [..., size], by a perceptron each, in fp32."""

    def __init__(self, size: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.reward_trunk, self.continue_trunk = (FeatureEncoder((size,), width, num_layers) for _ in range(2))
        self.reward = TwoHotHead(width)
        self.continues = nn.Linear(width, 1)

    def reward_logits(self, features: Tensor) -> Tensor:
        """Logits fp32 [..., K] for `self.reward`."""
        with full_precision(features):
            return self.reward(self.reward_trunk(features.float()))

    def continue_logits(self, features: Tensor) -> Tensor:
        """Logits fp32 [...] of the probability that the episode continues."""
        with full_precision(features):
            return self.continues(self.continue_trunk(features.float())).squeeze(-1)

    def reward_loss(self, features: Tensor, rewards: Tensor) -> Tensor:
        """Mean cross-entropy in nats with `rewards` [...]."""
        return self.reward.loss(self.reward_logits(features), rewards).mean()

    def continue_loss(self, features: Tensor, terminals: Tensor) -> Tensor:
        """Mean cross-entropy in nats with `terminals` bool [...]."""
        return F.binary_cross_entropy_with_logits(self.continue_logits(features), 1 - terminals.float())

    @torch.no_grad()
    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Expected reward [...] in the units of the environment, and the probability [...] that it continues."""
        return self.reward.mean(self.reward_logits(features)), self.continue_logits(features).sigmoid()

    @torch.no_grad()
    def judge(self, features: Tensor) -> Judged:
        """`predict` with the distributions it is derived from."""
        rewards, ends = self.reward_logits(features), self.continue_logits(features)
        return Judged(self.reward.mean(rewards), ends.sigmoid(), ends, rewards)
