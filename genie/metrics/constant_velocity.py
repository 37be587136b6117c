"""Constant velocity with reflection: the tracker that any world that follows an object has to beat.

An object goes on by its last displacement, and is reflected at the limits of its way. It draws nothing: it gives
positions. It knows nothing of actions, and of other objects only where they turn this one round: on each side, along x
and y, the limit is

- where it turns round, where recorded positions show one such place: the median of the turning points, if half of them
  lie within 2 pixels of it (a wall does this, and a paddle in its column; an object that turns anywhere has none) and
  if it turned there at least as often as it went past (a paddle that misses more than it hits reflects nothing);
- else the end of the region in which it was ever recorded.

An object that is beyond such a place already is reflected at the end of its region.

Dimension letters: `B` batch, `N` clips, `P` given frames, `n` horizon, `T` frames, `O` objects.
"""

import torch
from torch import Tensor

SAME_PLACE = 2.0  # pixels between a turning point and the place where an object turns
MOVES = 0.1  # pixels a frame: less is no motion


class ConstantVelocity:
    """Knows the limits of the ways of objects, by their recorded positions [N, T, O, 2] = (x, y) in pixels, NaN where
    absent."""

    def __init__(self, objects: Tensor) -> None:
        known, inf = objects.isfinite(), float("inf")
        self.low = objects.masked_fill(~known, inf).amin((0, 1))  # [O, 2] each
        self.high = objects.masked_fill(~known, -inf).amax((0, 1))
        self.turns_low, self.turns_high = -_turning_places(-objects, -self.low), _turning_places(objects, self.high)

    def __call__(self, given: Tensor, horizon: int) -> Tensor:
        """Positions [B, n, O, 2] after the given ones [B, P, O, 2]; NaN where the last two do not both know it. After a
        single given frame objects stay where they are."""
        last, before = given[:, -1], given[:, max(given.shape[1] - 2, 0)]
        low = torch.where(last < self.turns_low, self.low, self.turns_low)[:, None]
        high = torch.where(last > self.turns_high, self.high, self.turns_high)[:, None]
        steps = torch.arange(1, horizon + 1)[:, None, None]
        ahead = last[:, None] + steps * (last - before)[:, None] - low
        way = (high - low).clamp_min(1e-6)
        back_and_forth = ahead.remainder(2 * way)
        return low + torch.minimum(back_and_forth, 2 * way - back_and_forth)


def _turning_places(objects: Tensor, end: Tensor) -> Tensor:
    """[O, 2], on the side of large coordinates: where objects turn round, else `end`.

    Between two frames an object goes on to the turning point and comes back: it is as far beyond both as makes the way
    that it goes in the frame after or before, whichever was the longer one.
    """
    a, b, c = objects[:, :-2], objects[:, 1:-1], objects[:, 2:]
    there, back = b - a, b - c
    turned = (there > MOVES) & (back > MOVES)
    point = torch.where(there < back, a + b + back, b + c + there) / 2
    points = point.masked_fill(~turned, float("nan")).flatten(0, 1)  # [N · (T-2), O, 2]
    place = points.nanmedian(0).values
    near = ((points - place).abs() <= SAME_PLACE).sum(0)
    passed = ((objects[:, :-1] <= place) & (objects[:, 1:] > place)).flatten(0, 1).sum(0)
    one_place = (2 * near >= turned.flatten(0, 1).sum(0)) & (near >= passed) & (near > 0)
    return torch.where(one_place, place, end)
