"""Obedience: does what the actions move go where they send it, and as far as in the true game?

Which object the actions move is told by the recorded positions of true clips: of its displacement from one frame to the
next along x or y, the share of the variance that the action explains (the correlation ratio η², 0 to 1) is its
`dependence` on the actions. The object and axis with the largest one are those that are looked at; where that is below
`LEAST_DEPENDENCE` the actions move nothing that is recorded.

A paddle has inertia and stops at walls, so one action does not always move it by the same: the displacement of every
transition is compared with that of the true game under the same recorded action, and its mean for each action.

Dimension letters: `B` batch, `T` frames, `O` objects, `A` actions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

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
