"""What imagined steps are worth.

Dimension letters: `B` rollouts, `H` steps of each.
"""

import torch
from torch import Tensor, nn

from genie.common.ranks import gather_samples

RANGE = (0.05, 0.95)  # percentiles of the returns whose distance is their scale (DreamerV3)


def lambda_returns(rewards: Tensor, continues: Tensor, values: Tensor, discount: float, mixing: float) -> Tensor:
    """λ-returns [B, H] (Sutton & Barto, §12): R_t = r_t + γ c_t ((1-λ) v_{t+1} + λ R_{t+1}), and R_H = v_H.

    Args:
        rewards: [B, H] of the steps.
        continues: [B, H], the probability that the episode goes on behind each step.
        values: [B, H], of the states that the steps led to.
        discount, mixing: γ and λ.
    """
    following, returns = values[:, -1], []
    for step in reversed(range(rewards.shape[1])):
        later = (1 - mixing) * values[:, step] + mixing * following
        following = rewards[:, step] + discount * continues[:, step] * later
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


def still_running(continues: Tensor, alive: Tensor) -> Tensor:
    """The probability [B, H] that a rollout has not ended before each of its steps: what the step counts for.

    `continues` [B, H] as above; `alive` float [B]: 0 for a rollout whose first state is behind the end of an episode.
    """
    before = torch.cat([torch.ones_like(continues[:, :1]), continues[:, :-1]], dim=1)
    return alive[:, None] * before.cumprod(1)


class ReturnRange(nn.Module):
    """The scale of returns: the running distance between two of their percentiles, and at least `least`.

    Below `least` differences are left as they are: noise around a return that is always the same is nothing to learn.
    """

    def __init__(self, decay: float, least: float) -> None:
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("distance", torch.tensor(-1.0))  # below 0: nothing was seen yet

    @torch.no_grad()
    def update(self, returns: Tensor, running: Tensor) -> None:
        """With returns [B, H], of those steps that are more likely `running` [B, H] than not, on all ranks."""
        returns, running = gather_samples(returns), gather_samples(running)
        seen = returns[running > 0.5].float()
        if len(seen):
            low, high = seen.quantile(torch.tensor(RANGE, device=seen.device))
            mixed = self.decay * self.distance + (1 - self.decay) * (high - low)
            self.distance.copy_(torch.where(self.distance < 0, high - low, mixed))

    @property
    def scale(self) -> Tensor:
        """What differences of returns are divided by."""
        return self.distance.clamp_min(self.least)
