"""The joint objective of the simulators, written once:

    L = L_recon + λ1 L_dyn + λ2 L_reward + λ3 L_KL + …

What each term is for each simulator is in docs/simulators.md; every λ is a value of `simulator.objective`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genie.common.errors import UserError

GROUP = "simulator.objective"


class Objective:
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
