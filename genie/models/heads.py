"""Heads on features of a world: rewards, ends, values.

Actions as vectors, whether they are choices or numbers.

The trunk of rewards, policies and critics: features of a world to a vector.

Numbers of any size predicted as a distribution over bins (Hafner et al. 2023, DreamerV3, arXiv 2301.04104, §Critic).

The bins are evenly spaced in symlog; a target between two bins weighs both, so that the mean is the target. Gradients
do not grow with the size of the numbers, and rare values of another size need no scale.

Rewards and ends from the features of a world's states.

Sources: two-hot symlog regression, DreamerV3 (arXiv 2301.04104); preferences over segments, Christiano et al. 2017
(arXiv 1706.03741) §2.2.3: a segment is worth the sum of what its states are.

What a step led to, read from what a simulator knows: its reward, and whether the episode goes on.

Dimension letters: `A` actions, or their numbers.

Dimension letters: `F` the shape of features, (n,) or (C, h, w), `D` width.

Dimension letters: `F` the shape of features, `D` width, `K` bins.

Dimension letters: `F` features, `K` bins.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import full_precision


class ActionVectors(nn.Module):
    """Actions int64 [...] in 0 … A-1, or float [..., A] in [-1, 1], to float vectors [..., A].

    Args:
        num_actions: A for choices, which become one-hot.
        action_size: A for numbers, which stay as they are. ValueError unless exactly one of the two is given.
    """

    def __init__(self, num_actions: int | None, action_size: int | None) -> None:
        super().__init__()
        if (num_actions is None) == (action_size is None):
            raise ValueError(f"num_actions={num_actions} and action_size={action_size}: exactly one of them is given")
        self.num_actions, self.action_size = num_actions, action_size

    @property
    def size(self) -> int:
        """A."""
        return self.num_actions or self.action_size

    def forward(self, actions: Tensor) -> Tensor:
        """float32 [..., A]."""
        if self.num_actions is None:
            return actions.float()
        return (actions[..., None] == torch.arange(self.num_actions, device=actions.device)).float()


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


def symlog(values: Tensor) -> Tensor:
    """sign(x) · ln(1 + |x|): the identity near 0, a logarithm far from it."""
    return values.sign() * values.abs().log1p()


def symexp(values: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return values.sign() * values.abs().expm1()


class TwoHotHead(nn.Module):
    """From hidden values [..., D] to a distribution over `num_bins` numbers between symexp(-limit) and symexp(limit).

    It begins with all bins equally likely, so with a mean of 0. Raises ValueError for an even number of bins: 0 has to
    be one of them.
    """

    def __init__(self, width: int, num_bins: int = 63, limit: float = 7.0) -> None:
        super().__init__()
        if num_bins < 3 or num_bins % 2 == 0:
            raise ValueError(f"num_bins={num_bins} must be odd, and 3 or more")
        self.linear = nn.Linear(width, num_bins)
        self.linear.starts_at_zero = True
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        positive = torch.linspace(0, limit, num_bins // 2 + 1)
        self.register_buffer("bins", torch.cat([-positive[1:].flip(0), positive]), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """logits [..., K], fp32."""
        return self.linear(hidden).float()

    def mean(self, logits: Tensor) -> Tensor:
        """The expected number [...]: the mean of the bins' own numbers, summed from the middle outwards in pairs, so
        that a symmetric distribution gives exactly 0."""
        weighted = logits.softmax(-1) * symexp(self.bins)
        half = len(self.bins) // 2
        return (weighted[..., half + 1 :] + weighted[..., :half].flip(-1)).sum(-1) + weighted[..., half]

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy [...] in nats with the two-hot `target` [...]; numbers beyond the last bin count as it."""
        return -(self.two_hot(target) * F.log_softmax(logits, -1)).sum(-1)

    def two_hot(self, target: Tensor) -> Tensor:
        """Weights [..., K] of the two bins around each number, whose mean (in symexp) is the number."""
        numbers, target = symexp(self.bins), target.float()
        target = target.clamp(numbers[0], numbers[-1])
        above = torch.searchsorted(numbers, target.contiguous()).clamp(1, len(numbers) - 1)
        low, high = numbers[above - 1], numbers[above]
        share = ((target - low) / (high - low)).clamp(0, 1)[..., None]
        below = F.one_hot(above - 1, len(numbers)) * (1 - share)
        return below + F.one_hot(above, len(numbers)) * share


KINDS = ("state", "trajectory", "preference")


@dataclass(frozen=True)
class Judged:
    """What features [..., *F] tell of the step that led to them.

    Attributes:
        reward: [...], the expected reward; of a model of preferences, in units of its own.
        continues: [...] in [0, 1], the probability that the episode goes on; 1 where ends were never seen.
        continue_logits: [...], of that probability.
        reward_logits: [..., K] of the bins of a "state" model or a simulator; None for others.
    """

    reward: Tensor
    continues: Tensor
    continue_logits: Tensor
    reward_logits: Tensor | None

    @property
    def signs(self) -> Tensor:
        """Where there are `reward_logits`: the probabilities [..., 3] of a negative reward, of none and of a positive
        one."""
        shares = self.reward_logits.softmax(-1)
        half = shares.shape[-1] // 2
        return torch.stack([shares[..., :half].sum(-1), shares[..., half], shares[..., half + 1 :].sum(-1)], dim=-1)


class RewardModel(nn.Module):
    """Features [..., *F] of the state *after* a step to its reward and to whether the episode goes on.

    Args:
        feature_shape: F, (n,) or (C, h, w).
        kind: "state": a distribution over rewards (`TwoHotHead`). "trajectory", "preference": one number, of which
            only sums over segments are trained.
        width, num_layers, num_channels: of the `FeatureEncoder`.
        num_bins, limit: of a "state" model's head: rewards up to ±(e^limit - 1) are told apart.

    It begins with a reward of 0 everywhere. Raises ValueError for a kind that there is not, and for sizes that cannot
    be.
    """

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
        self.reward = TwoHotHead(width, num_bins, limit) if kind == "state" else zero_linear(width)
        self.ends = zero_linear(width)
        self.register_buffer("knows_ends", torch.zeros((), dtype=torch.bool))  # whether any data said where they are

    def forward(self, features: Tensor) -> Judged:
        """features [..., *F] → `Judged` [...], fp32."""
        hidden = self.encoder(features)
        continue_logits = self.ends(hidden)[..., 0].float()
        continues = torch.where(self.knows_ends, continue_logits.sigmoid(), torch.ones_like(continue_logits))
        if not isinstance(self.reward, TwoHotHead):
            return Judged(self.reward(hidden)[..., 0].float(), continues, continue_logits, None)
        logits = self.reward(hidden)
        return Judged(self.reward.mean(logits), continues, continue_logits, logits)


def zero_linear(width: int) -> nn.Linear:
    """A layer to one number, which is 0 at first."""
    layer = nn.Linear(width, 1)
    layer.starts_at_zero = True
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def segment_return(rewards: Tensor, discount: float) -> Tensor:
    """Σ discount^t · reward_t [B] of rewards [B, n]."""
    powers = discount ** torch.arange(rewards.shape[1], device=rewards.device)
    return (rewards * powers).sum(1)


class OutcomeHeads(nn.Module):
    """Reward (a `TwoHotHead`) and continuation from features [..., F], by a perceptron each, in fp32.

    Args:
        size: F.
        width, num_layers: of both perceptrons.
    """

    def __init__(self, size: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.reward_trunk, self.continue_trunk = (FeatureEncoder((size,), width, num_layers) for _ in range(2))
        self.reward = TwoHotHead(width)
        self.continues = nn.Linear(width, 1)

    def reward_logits(self, features: Tensor) -> Tensor:
        """[..., K] for `self.reward`."""
        with full_precision(features):
            return self.reward(self.reward_trunk(features.float()))

    def continue_logits(self, features: Tensor) -> Tensor:
        """fp32 [...]: of the probability that the episode goes on."""
        with full_precision(features):
            return self.continues(self.continue_trunk(features.float())).squeeze(-1)

    def reward_loss(self, features: Tensor, rewards: Tensor) -> Tensor:
        """Mean cross-entropy in nats with `rewards` [...]."""
        return self.reward.loss(self.reward_logits(features), rewards).mean()

    def continue_loss(self, features: Tensor, terminals: Tensor) -> Tensor:
        """Mean cross-entropy in nats with `terminals` bool [...]."""
        logits, goes_on = self.continue_logits(features), 1 - terminals.float()
        return nn.functional.binary_cross_entropy_with_logits(logits, goes_on)

    @torch.no_grad()
    def predict(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Expected reward [...] in the units of the environment, and the probability [...] that it goes on."""
        return self.reward.mean(self.reward_logits(features)), self.continue_logits(features).sigmoid()

    @torch.no_grad()
    def judge(self, features: Tensor) -> Judged:
        """The same with the distributions behind them."""
        rewards, ends = self.reward_logits(features), self.continue_logits(features)
        return Judged(self.reward.mean(rewards), ends.sigmoid(), ends, rewards)
