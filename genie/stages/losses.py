"""Losses on pixels, and the joint objective of the simulators.

Losses on pixels, and the weights that keep small moving things from being lost in a large quiet picture.

The joint objective of the simulators, written once:

    L = L_recon + λ1 L_dyn + λ2 L_reward + λ3 L_KL + …

What each term is for each simulator is in docs/simulators.md; every λ is a value of `simulator.objective`.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `L` latent width, `C H W` channels and pixels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.errors import UserError

RECONSTRUCTIONS = ("mse", "bce")
WEIGHTINGS = ("symmetric", "target")
FORMER_WEIGHTING = "target"  # of configurations from before there was a choice


def check_pixel_options(options: dict[str, Any], prefix: str = "stage.") -> None:
    """UserError for a `reconstruction` or a `weighting` that is none; `prefix` is that of their keys."""
    chosen = {"reconstruction": RECONSTRUCTIONS, "weighting": WEIGHTINGS}
    for name, choices in chosen.items():
        value = options.get(name, FORMER_WEIGHTING) if name == "weighting" else options[name]
        if value not in choices:
            raise UserError(f"{prefix}{name}={value!r}: choose one of {', '.join(choices)}")


def pixel_loss(
    logits: Tensor, target: Tensor, background: Tensor, options: dict[str, Any], previous: Tensor | None = None
) -> Tensor:
    """Loss of a prediction, `logits` [B, T, C, H, W] before the sigmoid, of the frames `target` in [0, 1].

    Options: `reconstruction` (see `reconstruction_loss`), `foreground_weight`, `change_weight` (with the frames
    `previous` before the target) and `weighting` (see `pixel_weights`): "target" weighs by the true frames alone,
    "symmetric" also by what is drawn.
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
    channels. With both weights 0 this is the plain mean.

    With a `prediction` [B, T, C, H, W] each difference is the larger one of the target's and the prediction's own. By
    the target's alone, a missing ball costs as much as the weight says and a ball that is drawn where none is next to
    nothing: a model that is unsure then draws both. The prediction is taken as it is: it carries no gradient.
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
    """Squared change of latents [B, T, S, L] from frame to frame, mean over the patches marked in `still` bool
    [B, T-1, S], whose pixels do not change; 0 where all do."""
    change = latents.diff(dim=1).square().sum(-1)  # [B, T-1, S]
    return (change * still).sum() / still.sum().clamp_min(1)


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


GROUP = "simulator.objective"


class JointObjective:
    """A weighted sum of terms, each of which is logged with its weight and without.

    Args:
        weights: λ ≥ 0 of every term by its name; 0 switches a term off, and it is not computed then.

    Raises UserError for a weight that is none, and where all are 0.
    """

    def __init__(self, weights: dict[str, float]) -> None:
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise UserError(f"{GROUP}.{name}={weight} must be a number, 0 or more")
        self.weights = dict(weights)
        if not any(self.weights.values()):
            raise UserError(f"all of {GROUP} is 0: there is nothing to learn")

    def uses(self, term: str) -> bool:
        """Whether a term counts."""
        return self.weights[term] > 0

    def __call__(self, terms: dict[str, Callable[[], Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and by log name each term (`<term>_loss`) and what it adds (`<term>_loss_weighted`).

        `terms`: for each name of the weights, what computes it.
        """
        added, figures = [], {}
        for name, weight in self.weights.items():
            if not weight:
                continue
            value = terms[name]()
            added.append(weight * value)
            figures |= {f"{name}_loss": value.detach(), f"{name}_loss_weighted": added[-1].detach()}
        return torch.stack(added).sum(), figures
