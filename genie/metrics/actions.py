"""Metrics of actions: codebook usage, alignment with true actions, effects, obedience.

Obedience: whether the object that the actions control moves in generated frames as in the true ones. That object is
found from the recorded positions of true clips: the `dependence` of its displacement along x or y on the actions is the
correlation ratio η² (share of variance explained, 0 to 1). The object and axis with the largest one are evaluated;
below `LEAST_DEPENDENCE` the actions move no recorded object. Since inertia and walls vary the displacement under one
action, every transition is compared with the true game's under the same recorded action, besides the means by action.

Dimension letters: `A` actions, `B` batch, `T` frames, `M` transitions, `C H W` channels and pixels, `O` objects.
"""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from genie.common.device import full_precision
from genie.metrics.sums import AdditiveMetric

LEAST_DEPENDENCE = 0.1
MOVES = 0.5  # pixels per frame; less counts as no motion
AXES = "xy"


class CodeUsage(AdditiveMetric):
    """Share of codes chosen at least once, and the perplexity of the distribution over codes (1 … K)."""

    def __init__(self, num_codes: int) -> None:
        super().__init__()
        self.add_sums("counts", shape=(num_codes,))

    def update(self, codes: Tensor) -> None:
        """codes int64 [...] in [0, K)."""
        self.counts += torch.bincount(codes.flatten(), minlength=len(self.counts)).to(self.counts.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`usage` in [0, 1] and `perplexity` in [1, K]."""
        perplexity = entropy(self.counts / self.counts.sum().clamp_min(1)).exp()
        return {"usage": (self.counts > 0).double().mean().float(), "perplexity": perplexity.float()}


class ActionAlignment(AdditiveMetric):
    """Confusion of latent with true actions, their normalised mutual information and the best matching."""

    def __init__(self, num_latent: int, num_true: int) -> None:
        super().__init__()
        self.add_sums("confusion", shape=(num_latent, num_true))

    def update(self, latent: Tensor, true: Tensor) -> None:
        """latent and true int64 [...], the actions of the same transitions."""
        pairs = latent.flatten() * self.confusion.shape[1] + true.flatten()
        counts = torch.bincount(pairs, minlength=self.confusion.numel())
        self.confusion += counts.view_as(self.confusion).to(self.confusion.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`nmi` in [0, 1] (over the mean of both entropies) and `accuracy` in [0, 1] under the best one-to-one matching
        (Hungarian method), 0 without data; `matching` int64 [num_latent], the true action matched with each latent one,
        -1 for none; `confusion` float64 [num_latent, num_true], the counts."""
        return {
            "nmi": normalized_mutual_information(self.confusion),
            "accuracy": matched_accuracy(self.confusion),
            "matching": best_matching(self.confusion),
            "confusion": self.confusion.clone(),
        }


class ExplainedActions(AdditiveMetric):
    """Share of the variance of continuous true actions that latent ones explain: the correlation ratio η² by number.

    Of few transitions it is too high: K codes of N unrelated ones explain about (K - 1) / (N - 1) by chance.
    """

    def __init__(self, num_latent: int, size: int) -> None:
        super().__init__()
        self.add_sums("counts", shape=(num_latent,))
        self.add_sums("sums", shape=(num_latent, size))
        self.add_sums("squares", shape=(size,))

    def update(self, latent: Tensor, true: Tensor) -> None:
        """latent int64 [...] and true [..., A], the actions of the same transitions."""
        values = true.flatten(0, -2).double()
        known = values.isfinite().all(-1)
        codes, values = latent.flatten()[known], values[known]
        self.counts += torch.bincount(codes, minlength=len(self.counts))
        self.sums.index_add_(0, codes, values)
        self.squares += (values**2).sum(0)

    def compute(self) -> dict[str, Tensor]:
        """`explained` in [0, 1], the mean over the numbers; `by_number` [A], 0 of a number that never changes."""
        total = self.counts.sum().clamp_min(1)
        mean = self.sums.sum(0) / total
        variance = self.squares / total - mean**2
        between = (self.sums**2 / self.counts.clamp_min(1)[:, None]).sum(0) / total - mean**2
        shares = torch.where(variance > 1e-12, between / variance.clamp_min(1e-12), 0.0).clamp(0, 1)
        return {"explained": shares.mean().float(), "by_number": shares.float()}


def normalized_mutual_information(confusion: Tensor) -> Tensor:
    """2·I(X; Y) / (H(X) + H(Y)) of a table of counts; 0 where either is constant."""
    joint = confusion.double() / confusion.sum().clamp_min(1)
    rows, columns = joint.sum(1), joint.sum(0)
    entropy_rows, entropy_columns = entropy(rows), entropy(columns)
    mutual = entropy_rows + entropy_columns - entropy(joint.flatten())
    return (2 * mutual / (entropy_rows + entropy_columns).clamp_min(1e-12)).clamp(0, 1).float()


def grouped(confusion: Tensor, groups: list[int]) -> dict[str, Tensor]:
    """Alignment with groups of true actions that have one effect: `groups[a]` is the group of action a.

    `nmi` as above, `accuracy` where each latent action stands for the group that it most often goes with (several may
    stand for one), `majority` of always naming the most common group.
    """
    index = torch.tensor(groups, device=confusion.device)
    table = confusion.new_zeros(len(confusion), int(index.max()) + 1).index_add_(1, index, confusion)
    total = table.sum().clamp_min(1)
    return {
        "nmi": normalized_mutual_information(table),
        "accuracy": (table.amax(1).sum() / total).float(),
        "majority": (table.sum(0).max() / total).float(),
    }


def best_matching(confusion: Tensor) -> Tensor:
    """int64 [rows]: the column of each row under the one-to-one matching with most pairs; -1 for none."""
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


class ActionEffects(AdditiveMetric):
    """Mean signed and absolute change x_{t+1} - x_t of frames of `frame_shape` C, H, W, over the transitions of each of
    A latent or true actions."""

    def __init__(self, num_actions: int, frame_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.add_sums("signed", "absolute", shape=(num_actions, *frame_shape))
        self.add_sums("transitions", shape=(num_actions,))

    def update(self, frames: Tensor, actions: Tensor) -> None:
        """frames [B, T, C, H, W] in [0, 1]; actions int64 [B, T-1], of the transitions between them."""
        change = (frames[:, 1:] - frames[:, :-1]).flatten(0, 1).flatten(1)  # [M, C·H·W]
        taken = F.one_hot(actions.flatten(), len(self.transitions)).T.to(change.dtype)  # [A, M]
        with full_precision(change):
            self.signed += (taken @ change).view_as(self.signed)
            self.absolute += (taken @ change.abs()).view_as(self.absolute)
        self.transitions += taken.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """`signed` in [-1, 1] and `absolute` in [0, 1], float [A, C, H, W], NaN for an action that was never taken;
        `transitions` float64 [A], their number."""
        count = self.transitions[:, None, None, None]
        return {
            "signed": (self.signed / count).float(),
            "absolute": (self.absolute / count).float(),
            "transitions": self.transitions.clone(),
        }


class Obedience(AdditiveMetric):
    """Displacements of O objects in generated and in true frames, under A actions."""

    def __init__(self, num_objects: int, num_actions: int) -> None:
        super().__init__()
        self.add_sums("recorded_count", "recorded", "count", "made", "true", shape=(num_actions, num_objects, 2))
        overall = ("recorded_squared", "made_squared", "true_squared", "product", "moved", "right")
        self.add_sums(*overall, shape=(num_objects, 2))

    def update(self, made: Tensor, objects: Tensor, actions: Tensor) -> None:
        """Positions `made` [B, n, O, 2] found in the generated frames and recorded `objects` [B, T, O, 2] of the whole
        clips, of which the generated frames are the last n; NaN where unknown. `actions` int64 [B, T-1] are the true
        ones of the transitions."""
        given = objects.shape[1] - made.shape[1]
        true = (objects[:, 1:] - objects[:, :-1]).double()
        taken = F.one_hot(actions, len(self.recorded)).double()  # [B, T-1, A]
        self._add(("recorded_count", "recorded", "recorded_squared"), taken, true, true.isfinite())
        path = torch.cat([objects[:, given - 1 : given], made], dim=1)
        moves, true, taken = (path[:, 1:] - path[:, :-1]).double(), true[:, given - 1 :], taken[:, given - 1 :]
        both = (moves.isfinite() & true.isfinite()).all(-1, keepdim=True).expand_as(true)
        self._add(("count", "true", "true_squared"), taken, true, both)
        self._add((None, "made", "made_squared"), taken, moves, both)
        self.product += (moves * true).where(both, 0).sum((0, 1))
        moved = both & (true.abs() >= MOVES)
        self.moved += moved.sum((0, 1))
        self.right += (moved & (moves.abs() >= MOVES) & (moves.sign() == true.sign())).sum((0, 1))

    def _add(self, names: tuple[str | None, str, str], taken: Tensor, values: Tensor, chosen: Tensor) -> None:
        """Counts, sums by action and sums of squares of the `chosen` of `values` [B, T, O, 2]."""
        values = values.where(chosen, 0)
        count, total, squared = names
        if count is not None:
            getattr(self, count).add_(torch.einsum("bta,btoc->aoc", taken, chosen.double()))
        getattr(self, total).add_(torch.einsum("bta,btoc->aoc", taken, values))
        getattr(self, squared).add_((values**2).sum((0, 1)))

    @property
    def dependence(self) -> Tensor:
        """η² [O, 2] of the true displacements along x and y; 0 without motion."""
        count, total = self.recorded_count.sum(0), self.recorded.sum(0)
        between = (self.recorded**2 / self.recorded_count.clamp_min(1)).sum(0) - total**2 / count.clamp_min(1)
        spread = self.recorded_squared - total**2 / count.clamp_min(1)
        return torch.where(spread > 1e-9 * self.recorded_squared, between / spread, 0.0).nan_to_num(0.0)

    def compute(self) -> dict | None:
        """Of the object that the actions move (None without one): its number `object`, the `axis` "x" or "y" and
        `dependence`; `correlation` of generated with true displacements over all `transitions` in which the object is
        found once before and after; `sign_accuracy`, the share of true moves of at least half a pixel in which the
        generated object moves at least that far in the same direction; and by action, float64 [A], `generated` and
        `true`, the mean displacements in pixels per frame (NaN: never taken), and `count`.
        """
        dependence = self.dependence
        index, axis = divmod(int(dependence.argmax()), 2)
        if not dependence[index, axis] >= LEAST_DEPENDENCE:
            return None
        by_action, overall = (slice(None), index, axis), (index, axis)
        count, made, true = (state[by_action] for state in (self.count, self.made, self.true))
        total = count.sum()
        covariance = self.product[overall] - made.sum() * true.sum() / total
        variances = [
            squares[overall] - sums.sum() ** 2 / total
            for squares, sums in ((self.made_squared, made), (self.true_squared, true))
        ]
        return {
            "object": index,
            "axis": AXES[axis],
            "dependence": float(dependence[index, axis]),
            "correlation": float(covariance / (variances[0] * variances[1]).sqrt()),
            "sign_accuracy": float(self.right[overall] / self.moved[overall]),
            "transitions": int(total),
            "generated": made / count,
            "true": true / count,
            "count": count,
        }
