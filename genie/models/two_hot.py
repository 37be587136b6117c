"""Numbers of any size predicted as a distribution over bins (Hafner et al. 2023, DreamerV3, arXiv 2301.04104, §Critic).

The bins are evenly spaced in symlog; a target between two bins weighs both, so that the mean is the target. Gradients
do not grow with the size of the numbers, and rare values of another size need no scale.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
