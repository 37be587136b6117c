"""What a reward model is trained by: rewards of steps, returns of segments, preferences between segments.

Dimension letters: `B` segments, `n` steps of one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.random import Stream, fold_in
from genie.models.heads import Judged, RewardModel, segment_return


def state_loss(model: RewardModel, judged: Judged, rewards: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy (nats) of the rewards of steps [B, n] with what is `judged` of the states after them.

    `weights` [B, n] say how much more often a step ought to have been drawn; their mean is 1 on average only, so this
    is divided by the number of steps: a mean over batches is then the mean over all steps.
    """
    return (weights * model.reward.loss(judged.reward_logits, rewards)).mean()


def trajectory_loss(judged: Judged, returns: Tensor, weights: Tensor, discount: float) -> Tensor:
    """Squared error of the returns [B] of segments; `weights` [B] likewise."""
    return (weights * (segment_return(judged.reward, discount) - returns).square()).mean()


def preference_loss(better: Tensor, labels: Tensor) -> Tensor:
    """Bradley-Terry (nats): `better` [P], by how much the first segment of a pair is worth more, are the logits of its
    being preferred; `labels` [P] in [0, 1], 0.5 for equally good."""
    return F.binary_cross_entropy_with_logits(better, labels)


def continue_loss(judged: Judged, terminals: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy (nats) of whether the episode goes on; `weights` as in `state_loss`."""
    loss = F.binary_cross_entropy_with_logits(judged.continue_logits, (~terminals).float(), reduction="none")
    return (weights * loss).mean()


def others(values: Tensor) -> Tensor:
    """The partner of each segment [B, ...] in a pair: the one before it, so that each is in two pairs."""
    return values.roll(1, 0)


def labels_of(returns: Tensor, seeds: Tensor, margin: float, noise: float) -> Tensor:
    """Which of each segment and its partner has the larger return [B]: 1, 0, or 0.5 where they differ by no more than
    `margin`; a share `noise` of the labels, drawn by the segments' `seeds` int64 [B], is turned round."""
    difference = returns - others(returns)
    labels = 0.5 + 0.5 * difference.sign() * (difference.abs() > margin)
    drawn = [fold_in(seed, Stream.LABEL_NOISE) / 2**63 for seed in seeds.tolist()]
    wrong = torch.tensor(drawn, device=returns.device) < noise
    return torch.where(wrong, 1 - labels, labels)
