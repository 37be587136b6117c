"""What a step led to, read from what a simulator knows: its reward, and whether the episode goes on.

Dimension letters: `F` features, `K` bins.
"""

import torch
from torch import Tensor, nn

from genie.common.device import full_precision
from genie.models.feature_encoder import FeatureEncoder
from genie.models.reward import Judged
from genie.models.two_hot import TwoHotHead


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
