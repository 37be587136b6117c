"""Is each object still there in a generated frame, once, and how far from where it should be?

In a rollout an object may be at another place than in the truth, so it is searched for (`ObjectDetector`) and not
tested at its true position as in reconstructions (`ObjectSurvival`).

Dimension letters: `B` batch, `n` horizon, `N` = B·n pictures, `O` objects, `C H W` channels and pixels, `Q` bins.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

from genie.metrics.object_detector import Blobs, ObjectDetector

BIN = 0.25  # pixels: the distances are counted in bins of it, so that their median can be streamed


@dataclass(frozen=True)
class Reference:
    """The true frames as the detector sees them: recorded positions `objects` [B, n, O, 2]; bool [B, n, O] each:
    `seen`, whether the object is found there, and `alarm`, whether something is found where none is."""

    objects: Tensor
    seen: Tensor
    alarm: Tensor


def reference(detector: ObjectDetector, frames: Tensor, objects: Tensor) -> Reference:
    """Of true frames [B, n, C, H, W] in [0, 1] and recorded positions [B, n, O, 2]."""
    found = detector.blobs(frames.flatten(0, 1))
    found = found.where(detector.are_objects(found))
    own = detector.distance(found, objects.flatten(0, 1)) <= detector.tolerance
    seen, alarm = (_totals(found.where(chosen), objects.shape[:3]) > 0 for chosen in (own, ~own))
    return Reference(objects, seen, alarm)


def _totals(blobs: Blobs, shape: tuple[int, int, int], values: Tensor | None = None) -> Tensor:
    """Sums of `values` [M] (of ones) over the blobs of each object in each picture, float64 of `shape` B, n, O."""
    values = torch.ones(len(blobs.mass)) if values is None else values
    totals = torch.zeros(math.prod(shape), dtype=torch.float64)
    return totals.index_add_(0, blobs.picture * shape[2] + blobs.object, values.double()).view(shape)


class ObjectPresence(Metric):
    """Shares of frames in which each object is found, found twice, and found where there is none; distances.

    Args:
        detector: knows what the objects look like.
        horizon: n.
    """

    full_state_update = False

    def __init__(self, detector: ObjectDetector, horizon: int) -> None:
        super().__init__()
        self.detector = detector
        shape = detector.num_objects, horizon
        for name in (
            "seen",
            "present",
            "in_place",
            "doubled",
            "mass",
            "distance",
            "absent",
            "invented",
            "frames",
            "alarms",
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        bins = math.ceil(math.hypot(*detector.background.shape[-2:]) / BIN)
        self.add_state("distances", torch.zeros(*shape, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, frames: Tensor, truth: Reference) -> None:
        """Frames [B, n, C, H, W] in [0, 1], or what can be broadcast to that, and the true ones."""
        shape = truth.seen.shape
        frames = frames.expand(*shape[:2], *frames.shape[2:]).flatten(0, 1)
        blobs = self.detector.blobs(frames)
        found = blobs.where(self.detector.are_objects(blobs))
        count = _totals(found, shape)
        away = torch.full((math.prod(shape),), float("inf")).scatter_reduce(
            0, found.picture * shape[2] + found.object,
            self.detector.distance(found, truth.objects.flatten(0, 1)), "amin",
        ).view(shape)  # fmt: skip
        present, absent = truth.seen & (count > 0), truth.objects.isnan().any(-1)
        for name, values in (
            ("seen", truth.seen),
            ("present", present),
            ("in_place", present & (away <= self.detector.tolerance)),
            ("doubled", truth.seen & (count > 1)),
            ("mass", _totals(blobs, shape, blobs.mass) * truth.seen),
            ("distance", away.where(present, 0)),
            ("absent", absent),
            ("invented", absent & (count > 0)),
            ("frames", torch.ones(shape)),
            ("alarms", truth.alarm),
        ):
            state = getattr(self, name)
            state += values.sum(0).T.to(state.dtype)
        row, step, index = torch.nonzero(present, as_tuple=True)
        bins = (away[row, step, index] / BIN).long().clamp_max(self.distances.shape[-1] - 1)
        self.distances.index_put_((index, step, bins), torch.ones(len(bins), dtype=torch.float64), accumulate=True)

    def compute(self) -> dict[str, Tensor]:
        """Of each object [O], and under `<name>_by_horizon` [O, n]; NaN where nothing was counted:

        `present`: share of the `seen` frames (the true one shows the object) in which it is found; `in_place`: within
        the detector's tolerance of its true position; `doubled`: more than once. `mass`: what is left of it, in pieces
        of any size; 1 for all. `distance_mean`, `distance_median`: pixels from its true position, where it is found (of
        several the nearest). `invented`: share of the `absent` frames (no position recorded) in which it is found.
        `false_alarms`: share of all true frames in which something is found that is not the object, which is what the
        detector itself gets wrong.
        """
        by_horizon = _shares(self.metric_state)
        overall = _shares({name: state.sum(1) for name, state in self.metric_state.items()})
        return overall | {f"{name}_by_horizon": value for name, value in by_horizon.items()}


def _shares(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    shares = {
        "present": counts["present"] / counts["seen"],
        "in_place": counts["in_place"] / counts["seen"],
        "doubled": counts["doubled"] / counts["seen"],
        "mass": counts["mass"] / counts["seen"],
        "distance_mean": counts["distance"] / counts["present"],
        "distance_median": _median(counts["distances"]),
        "invented": counts["invented"] / counts["absent"],
        "false_alarms": counts["alarms"] / counts["frames"],
    }
    return {name: value.float() for name, value in shares.items()} | {name: counts[name] for name in ("seen", "absent")}


def _median(histogram: Tensor) -> Tensor:
    """Pixels [...] from counts [..., Q] in bins of `BIN`, exact to one of them; NaN without counts."""
    below = histogram.cumsum(-1)
    half = below[..., -1:] / 2
    middle = (below < half).sum(-1, keepdim=True).clamp_max(histogram.shape[-1] - 1)  # the bin that half lies in
    inside = histogram.gather(-1, middle)
    share = (half - (below.gather(-1, middle) - inside)) / inside
    return ((middle + share) * BIN)[..., 0]
