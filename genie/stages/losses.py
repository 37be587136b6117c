"""Weighted losses on pixels and the joint objective of the simulators.

The objective is L = L_recon + λ1 L_dyn + λ2 L_reward + λ3 L_KL + …; docs/simulators.md explains each term, and every λ
is a value of `simulator.objective`.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `L` latent width, `C H W` channels and pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.errors import UserError

RECONSTRUCTIONS = ("mse", "bce")
FORMER_WEIGHTING = "target"  # of configurations from before there was a choice
GROUP = "simulator.objective"


def pixel_loss(
    logits: Tensor, target: Tensor, background: Tensor, options: dict[str, Any], previous: Tensor | None = None
) -> Tensor:
    """Loss of a prediction, `logits` [B, T, C, H, W] before the sigmoid, of the frames `target` in [0, 1].

    Options: `reconstruction` (see `reconstruction_loss`), `foreground_weight`, `change_weight` (with the frames
    `previous` before the target) and `weighting` (see `pixel_weights`): "target" weighs by the true frames alone,
    "symmetric" also by the predicted ones.
    """
    symmetric = options.get("weighting", FORMER_WEIGHTING) == "symmetric"
    weights = pixel_weights(
        target,
        background,
        options["foreground_weight"],
        previous,
        options.get("change_weight", 0),
        logits.detach().sigmoid() if symmetric else None,
    )
    return reconstruction_loss(logits, target, options["reconstruction"], weights)


def pixel_weights(
    target: Tensor,
    background: Tensor,
    foreground: float = 0.0,
    previous: Tensor | None = None,
    change: float = 0.0,
    prediction: Tensor | None = None,
) -> Tensor:
    """Weights [B, T, 1, H, W] ≥ 1 of the pixels of `target` [B, T, C, H, W].

    1 + foreground · |target − background| + change · |target − previous|, each difference the largest over the
    channels; with both weights 0 all are 1.

    With a `prediction` [B, T, C, H, W], which gets no gradient, each difference is the larger one of the target's and
    the prediction's own. By the target's alone, a missing ball would cost its weight and a ball that is drawn where
    none is next to nothing, so an uncertain model would draw both.
    """
    shown = [target] if prediction is None else [target, prediction.detach()]

    def difference(reference: Tensor) -> Tensor:
        return torch.stack([(frames - reference).abs().amax(2, keepdim=True) for frames in shown]).amax(0)

    weights = torch.ones_like(target[:, :, :1])
    if foreground:
        weights = weights + foreground * difference(background)
    if change and previous is not None:
        weights = weights + change * difference(previous)
    return weights


def stability_loss(latents: Tensor, still: Tensor) -> Tensor:
    """Squared change of latents [B, T, S, L] from frame to frame, mean over the patches without a change of pixels,
    marked in `still` bool [B, T-1, S]; 0 where there are none."""
    change = latents.diff(dim=1).square().sum(-1)  # [B, T-1, S]
    return (change * still).sum() / still.sum().clamp_min(1)


def reconstruction_loss(logits: Tensor, target: Tensor, kind: str, weights: Tensor) -> Tensor:
    """Weighted mean over pixels of the squared error ("mse") or sigmoid cross-entropy ("bce", the paper's LAM).

    The target's own entropy, the least value of the cross-entropy, is subtracted from it, so that a perfect prediction
    has a loss of 0; the gradient is the same.
    """
    if kind == "mse":
        return (weights * (logits.sigmoid() - target).square()).mean()
    if kind == "bce":
        # not F.binary_cross_entropy, which autocast on CUDA refuses
        entropy = torch.special.entr(target) + torch.special.entr(1 - target)
        return (weights * (F.binary_cross_entropy_with_logits(logits, target, reduction="none") - entropy)).mean()
    raise ValueError(f"reconstruction={kind!r}: choose one of {', '.join(RECONSTRUCTIONS)}")


class JointObjective:
    """A weighted sum of terms, with `weights` λ ≥ 0 by their names; a term with 0 is not computed.

    Raises UserError where all are 0.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = dict(weights)
        if not any(self.weights.values()):
            raise UserError(f"all of {GROUP} is 0: there is nothing to learn")

    def uses(self, term: str) -> bool:
        return self.weights[term] > 0

    def __call__(self, terms: dict[str, Callable[[], Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of `terms`, which compute each name of the weights, and by log name each term (`<term>_loss`) and its
        weighted value (`<term>_loss_weighted`)."""
        added, metrics = [], {}
        for name, weight in self.weights.items():
            if not weight:
                continue
            value = terms[name]()
            added.append(weight * value)
            metrics |= {f"{name}_loss": value.detach(), f"{name}_loss_weighted": added[-1].detach()}
        return torch.stack(added).sum(), metrics
