"""Losses on pixels, and the weights that keep small moving things from being lost in a large quiet picture.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

RECONSTRUCTIONS = ("mse", "bce")


def pixel_weights(
    target: Tensor,
    background: Tensor,
    foreground: float = 0.0,
    previous: Tensor | None = None,
    change: float = 0.0,
) -> Tensor:
    """Weights [B, T, 1, H, W] ≥ 1 of the pixels of `target` [B, T, C, H, W].

    1 + foreground · |target − background| + change · |target − previous|, each difference the largest over the
    channels. With both weights 0 this is the plain mean.
    """
    weights = torch.ones_like(target[:, :, :1])
    if foreground:
        weights = weights + foreground * (target - background).abs().amax(2, keepdim=True)
    if change and previous is not None:
        weights = weights + change * (target - previous).abs().amax(2, keepdim=True)
    return weights


def reconstruction_loss(logits: Tensor, target: Tensor, kind: str, weights: Tensor) -> Tensor:
    """Weighted mean over pixels of the squared error ("mse") or sigmoid cross-entropy ("bce", the paper's LAM).

    The cross-entropy is counted above its least value, the target's own entropy, so that a perfect prediction
    has a loss of 0; the gradient is the same.
    """
    if kind == "mse":
        return (weights * (logits.sigmoid() - target).square()).mean()
    if kind == "bce":
        # not F.binary_cross_entropy, which autocast on CUDA refuses
        entropy = torch.special.entr(target) + torch.special.entr(1 - target)
        return (weights * (F.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy)).mean()
    raise ValueError(f"reconstruction={kind!r}: choose one of {', '.join(RECONSTRUCTIONS)}")
