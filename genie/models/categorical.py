"""Categorical latents: a class out of K in each of G groups, drawn with a gradient.

Source: Hafner et al., DreamerV2 (arXiv 2010.02193, straight-through gradients) and DreamerV3 (arXiv 2301.04104, §World
model: the mix with the uniform distribution).

Dimension letters: `G` groups, `K` classes.
"""

import math

import torch
from torch import Tensor


def log_probabilities(logits: Tensor, uniform: float) -> Tensor:
    """Log-probabilities fp32 [..., G, K], in which a share `uniform` (0 … 1) is spread over all classes: none is ever
    impossible, so that no divergence is without end."""
    logits = logits.float().log_softmax(-1)
    if not uniform:
        return logits
    even = torch.full_like(logits, math.log(uniform / logits.shape[-1]))
    return torch.logaddexp(logits + math.log1p(-uniform), even)


def draw(log_probs: Tensor, noise: Tensor | None) -> Tensor:
    """One-hot [..., G, K], with the gradient of the probabilities (straight-through).

    `noise` [..., G] in [0, 1) decides each class; None takes the most likely one.
    """
    probs = log_probs.exp()
    if noise is None:
        chosen = probs.argmax(-1, keepdim=True)
    else:
        below = probs.cumsum(-1) <= noise[..., None]
        chosen = below.sum(-1, keepdim=True).clamp_max(probs.shape[-1] - 1)  # the last sum may be a little below 1
    hot = (chosen == torch.arange(probs.shape[-1], device=probs.device)).to(probs.dtype)
    return hot + probs - probs.detach()


def sample(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Classes int64 [...] of probabilities [..., K], by the inverse of the cumulative distribution; `noise` [...] in
    [0, 1) decides each."""
    below = probabilities.cumsum(-1)
    drawn = torch.searchsorted(below, noise[..., None] * below[..., -1:], right=True)[..., 0]
    return drawn.clamp_max(probabilities.shape[-1] - 1)  # where rounding made the product the sum itself


def kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(first ‖ second) [...] in nats, all groups together, of log-probabilities [..., G, K]."""
    return (first.exp() * (first - second)).sum((-2, -1))


def entropy(log_probs: Tensor) -> Tensor:
    """[...] in nats, all groups together, of log-probabilities [..., G, K]."""
    return -(log_probs.exp() * log_probs).sum((-2, -1))
