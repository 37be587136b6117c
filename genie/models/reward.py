"""Rewards and ends from the features of a world's states.

Sources: two-hot symlog regression, DreamerV3 (arXiv 2301.04104); preferences over segments, Christiano et al. 2017
(arXiv 1706.03741) §2.2.3: a segment is worth the sum of what its states are.

Dimension letters: `F` the shape of features, `D` width, `K` bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genie.models.feature_encoder import FeatureEncoder
from genie.models.two_hot import TwoHotHead

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
