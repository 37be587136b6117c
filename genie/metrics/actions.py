"""Latent actions: alignment, effects, obedience, code usage.

How much of a codebook is in use: the collapse of a quantiser shows here before it shows anywhere else.

Do the latent actions mean what the true ones mean? Measured on data that happens to record its actions.

What does each action change in the picture? A joystick moves one thing one way; a code that merely counts, nothing.

Obedience: does what the actions move go where they send it, and as far as in the true game?

Which object the actions move is told by the recorded positions of true clips: of its displacement from one frame to the
next along x or y, the share of the variance that the action explains (the correlation ratio η², 0 to 1) is its
`dependence` on the actions. The object and axis with the largest one are those that are looked at; where that is below
`LEAST_DEPENDENCE` the actions move nothing that is recorded.

A paddle has inertia and stops at walls, so one action does not always move it by the same: the displacement of every
transition is compared with that of the true game under the same recorded action, and its mean for each action.

Dimension letters: `A` actions, `B` batch, `T` frames, `M` transitions, `C H W` channels and pixels.

Dimension letters: `B` batch, `T` frames, `O` objects, `A` actions.
"""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchmetrics import Metric

from genie.common.device import full_precision


class CodeUsage(Metric):
    """Share of codes chosen at least once, and the perplexity of the distribution over codes (1 … K).

    Counts whole codes over everything seen since the last reset.
    """

    full_state_update = False

    def __init__(self, num_codes: int) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(num_codes, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, codes: Tensor) -> None:
        """codes int64 [...] in [0, K)."""
        self.counts += torch.bincount(codes.flatten(), minlength=len(self.counts)).to(self.counts.dtype)

    def compute(self) -> dict[str, Tensor]:
        """`usage` in [0, 1] and `perplexity` in [1, K]."""
        share = self.counts / self.counts.sum().clamp_min(1)
        entropy = -(share * share.clamp_min(1e-30).log()).sum()
        return {"usage": (self.counts > 0).double().mean().float(), "perplexity": entropy.exp().float()}


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


class ActionEffects(Metric):
    """The mean change x_{t+1} - x_t over the transitions of each action, signed and without its sign.

    Args:
        num_actions: A, latent or true ones.
        frame_shape: C, H, W.
    """

    full_state_update = False

    def __init__(self, num_actions: int, frame_shape: tuple[int, int, int]) -> None:
        super().__init__()
        for name in ("signed", "absolute"):
            self.add_state(name, torch.zeros(num_actions, *frame_shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("transitions", torch.zeros(num_actions, dtype=torch.float64), dist_reduce_fx="sum")

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
        `transitions` float64 [A], how many there were."""
        count = self.transitions[:, None, None, None]
        return {
            "signed": (self.signed / count).float(),
            "absolute": (self.absolute / count).float(),
            "transitions": self.transitions.clone(),
        }


LEAST_DEPENDENCE = 0.1
MOVES = 0.5  # pixels a frame: less is no motion, which has no direction
AXES = "xy"


class Obedience(Metric):
    """Displacements of each object in generated and in true frames, by action; for `num_objects` O and
    `num_actions` A."""

    full_state_update = False

    def __init__(self, num_objects: int, num_actions: int) -> None:
        super().__init__()
        by_action, overall = (num_actions, num_objects, 2), (num_objects, 2)
        states = dict.fromkeys(("recorded_count", "recorded", "count", "made", "true"), by_action)
        squares = ("recorded_squared", "made_squared", "true_squared", "product", "moved", "right")
        for name, shape in (states | dict.fromkeys(squares, overall)).items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, made: Tensor, objects: Tensor, actions: Tensor) -> None:
        """Positions `made` [B, n, O, 2] found in the generated frames and recorded `objects` [B, T, O, 2] of the whole
        clips, of which the generated frames are the last n; NaN where one is not known. `actions` int64 [B, T-1], true
        ones, of the transitions."""
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
            state = getattr(self, count)
            state += torch.einsum("bta,btoc->aoc", taken, chosen.double())
        state = getattr(self, total)
        state += torch.einsum("bta,btoc->aoc", taken, values)
        state = getattr(self, squared)
        state += (values**2).sum((0, 1))

    @property
    def dependence(self) -> Tensor:
        """η² [O, 2] of the true displacements along x and y; 0 of what never moves."""
        count, total = self.recorded_count.sum(0), self.recorded.sum(0)
        between = (self.recorded**2 / self.recorded_count.clamp_min(1)).sum(0) - total**2 / count.clamp_min(1)
        spread = self.recorded_squared - total**2 / count.clamp_min(1)
        return torch.where(spread > 1e-9 * self.recorded_squared, between / spread, 0.0).nan_to_num(0.0)

    def compute(self) -> dict | None:
        """Of the object that the actions move, None where they move none: its number `object`, the `axis` "x" or "y"
        and `dependence`; `correlation`, of generated with true displacements over all transitions in which the object
        is found once before and after; `sign_accuracy`: of those in which the true one moves at least half a pixel, the
        share in which the generated one does so the same way; `transitions`, how many there were; and by action,
        float64 [A], `generated` and `true`, the mean displacements in pixels a frame (NaN: never taken), and `count`.
        """
        dependence = self.dependence
        best = int(dependence.argmax())
        index, axis = divmod(best, 2)
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
