"""Do the latent actions mean what the true ones mean? Measured on data that happens to record its actions."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics import Metric


class ActionAlignment(Metric):
    """Confusion of latent with true actions, their normalised mutual information and the best matching.

    Args:
        num_latent: latent actions.
        num_true: true actions.
    """

    full_state_update = False

    def __init__(self, num_latent: int, num_true: int) -> None:
        super().__init__()
        self.add_state("confusion", torch.zeros(num_latent, num_true, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, latent: Tensor, true: Tensor) -> None:
        """latent and true int64 [...], the same shape: the actions of the same transitions."""
        pairs = latent.flatten() * self.confusion.shape[1] + true.flatten()
        counts = torch.bincount(pairs, minlength=self.confusion.numel())
        self.confusion += counts.view_as(self.confusion).to(self.confusion.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`nmi` in [0, 1] (over the mean of both entropies) and `accuracy` in [0, 1] under the best one-to-one
        matching (Hungarian method), 0 where nothing was counted; `matching` int64 [num_latent], the true action that
        this matching gives each latent one, -1 for none; `confusion` float64 [num_latent, num_true], the counts."""
        return {
            "nmi": normalized_mutual_information(self.confusion),
            "accuracy": matched_accuracy(self.confusion),
            "matching": best_matching(self.confusion),
            "confusion": self.confusion.clone(),
        }


def normalized_mutual_information(confusion: Tensor) -> Tensor:
    """2·I(X; Y) / (H(X) + H(Y)) of a table of counts; 0 where either is constant."""
    joint = confusion.double() / confusion.sum().clamp_min(1)
    rows, columns = joint.sum(1), joint.sum(0)
    entropy_rows, entropy_columns = entropy(rows), entropy(columns)
    mutual = entropy_rows + entropy_columns - entropy(joint.flatten())
    return (2 * mutual / (entropy_rows + entropy_columns).clamp_min(1e-12)).clamp(0, 1).float()


def best_matching(confusion: Tensor) -> Tensor:
    """int64 [rows]: the column of each row under the one-to-one matching with most pairs on it; -1 for none."""
    rows, columns = linear_sum_assignment(-confusion.cpu().numpy())
    matching = torch.full((len(confusion),), -1, dtype=torch.int64)
    matching[rows] = torch.from_numpy(columns)
    return matching.to(confusion.device)


def matched_accuracy(confusion: Tensor) -> Tensor:
    """Share of pairs on the best one-to-one matching of rows to columns."""
    matching = best_matching(confusion)
    rows = torch.nonzero(matching >= 0)[:, 0]
    return (confusion[rows, matching[rows]].sum() / confusion.sum().clamp_min(1)).float()


def entropy(shares: Tensor) -> Tensor:
    """-Σ p log p in nats."""
    return -(shares * shares.clamp_min(1e-30).log()).sum()
