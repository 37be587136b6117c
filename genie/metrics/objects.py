"""Metrics of small objects: survival in reconstructions, presence in rollouts.

Small objects hardly affect PSNR. The data record the position of each object (`objects` [B, T, O, 2]: x, y in pixels,
NaN where absent).

Survival. In the original frame x with background b, the object's mark is the largest colour difference d = x − b (a
vector over the channels) within `radius` pixels of its position. The object survives in a reconstruction r when

    max over pixels q near the position of (r(q) − b(q)) · d/|d|  >  threshold · |d|

Noise or a white picture passes this test everywhere. So the same test with the same d is made at the horizontally
mirrored position, for the share of false alarms: survival is meaningful only while that is small. The control leaves
out positions where the original shows something, and both leave out objects that the original hardly shows (hidden, or
between two pixels).

Constant velocity with reflection (`ConstantVelocity`) is the baseline tracker of a world that follows objects. An
object continues by its last displacement and is reflected at limits, without regard to actions or other objects. On
each side, along x and y, the limit is

- its turning place, where recorded positions show one: the median of the turning points, if half of them lie within 2
  pixels of it (as at a wall or a paddle) and it turned there at least as often as it passed;
- else, and for an object already beyond that place, the end of the region in which it was ever recorded.

Presence. In a rollout an object may be elsewhere than in the truth, so it is searched for (`ObjectDetector`). An object
that reappears at random cannot be predicted: it is in a *rally* while it was found in the last two given frames, which
show its motion, and in every true frame since:

    truth = reference(detector, frames, objects)                  # of whole clips, P given frames and n after them
    metric = ObjectPresence(detector, horizon=n)
    metric.update(generated, truth.after(P))                      # over all frames, or
    metric.update(generated, truth.rally(P))                      # over the frames of rallies
    metric.compute()["in_place_by_horizon"]                       # [O, n], of so many clips: ["seen_by_horizon"]

Dimension letters: `B` batch, `T` frames, `P` given frames, `n` horizon, `N` pictures or clips, `O` objects, `C H W`
channels and pixels, `M` objects seen or blobs, `Q` bins.
"""

import itertools
import math
from dataclasses import astuple, dataclass, fields, replace

import torch
from torch import Tensor

from genie.metrics.intervals import ClipSums, wilson
from genie.metrics.object_detector import Blobs, ObjectDetector
from genie.metrics.sums import AdditiveMetric

SAME_PLACE = 2.0  # pixels between a turning point and the turning place
MOVES = 0.1  # pixels per frame; less counts as no motion
BIN = 0.25  # pixels, of the histograms of distances from which medians are streamed
SHOWS_MOTION = 2  # given frames in which an object has to be found for a rally
# metric -> denominator of the share (of the distance: of the mean); these have intervals over clips
PARTS = {
    "present": "seen", "in_place": "seen", "doubled": "seen", "invented": "absent", "distance": "present",
}  # fmt: skip


class ObjectSurvival(AdditiveMetric):
    """Shares of each object that survive, and of false alarms at the mirrored position.

    Args:
        num_objects: O.
        threshold: least remaining share of the original's contrast.
        radius: pixels around a position (a square).
        min_contrast: least length of d of a visible object, in units of the full range of one channel; the control is
            made where the original's differences, one pixel further around, are smaller.
    """

    def __init__(self, num_objects: int, threshold: float = 1 / 3, radius: int = 1, min_contrast: float = 0.1) -> None:
        super().__init__()
        self.threshold, self.radius, self.min_contrast = threshold, radius, min_contrast
        self.add_sums("survived", "seen", "alarms", "controls", shape=(num_objects,))

    def update(self, reconstruction: Tensor, frames: Tensor, objects: Tensor, background: Tensor) -> None:
        """reconstruction and frames [B, T, C, H, W], background [C, H, W], all in [0, 1]; objects [B, T, O, 2]."""
        original = (frames - background).flatten(0, 1)  # [B·T, C, H, W]
        rebuilt = (reconstruction.to(frames.dtype) - background).flatten(0, 1)
        width = frames.shape[-1]
        frame, index = torch.nonzero(objects.flatten(0, 1).isfinite().all(-1), as_tuple=True)
        place = objects.flatten(0, 1)[frame, index].round().long()  # [M, 2]
        marks = neighbourhood(original, frame, place, self.radius)  # [M, P, C]
        contrast, strongest = marks.norm(dim=-1).max(dim=1)  # [M]
        mark = marks.gather(1, strongest[:, None, None].expand(-1, 1, marks.shape[-1]))[:, 0]  # [M, C]
        seen = contrast >= self.min_contrast

        mirrored = torch.stack([width - 1 - place[:, 0], place[:, 1]], dim=-1)
        around = neighbourhood(original, frame, mirrored, self.radius + 1).norm(dim=-1).amax(dim=1)
        control = seen & (around < self.min_contrast)

        for counts, total, where, chosen in (
            (self.survived, self.seen, place, seen),
            (self.alarms, self.controls, mirrored, control),
        ):
            near = neighbourhood(rebuilt, frame, where, self.radius)  # [M, P, C]
            along = (near * mark[:, None]).sum(-1).amax(dim=1) / contrast.clamp_min(1e-12)
            remains = along > self.threshold * contrast
            counts.index_add_(0, index[chosen], remains[chosen].to(counts.dtype))
            total.index_add_(0, index[chosen], torch.ones_like(remains[chosen], dtype=total.dtype))

    def compute(self) -> dict[str, Tensor]:
        """[O] each: the shares `survival` and `false_alarms` (NaN without data), the counts `seen` and `controls`."""
        return {
            "survival": (self.survived / self.seen).float(),
            "false_alarms": (self.alarms / self.controls).float(),
            "seen": self.seen,
            "controls": self.controls,
        }


def neighbourhood(pictures: Tensor, index: Tensor, place: Tensor, radius: int) -> Tensor:
    """Pixels [M, (2·radius + 1)², C] of pictures [N, C, H, W] number `index` [M] around `place` [M, 2] = (x, y), edges
    replicated."""
    height, width = pictures.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=pictures.device)
    rows = (place[:, 1, None, None] + steps[:, None]).clamp(0, height - 1)  # [M, P', 1]
    columns = (place[:, 0, None, None] + steps).clamp(0, width - 1)  # [M, 1, P']
    return pictures[index[:, None, None], :, rows, columns].flatten(1, 2)


class ConstantVelocity:
    """Tracker with limits from recorded positions [N, T, O, 2] = (x, y) in pixels, NaN where absent."""

    def __init__(self, objects: Tensor) -> None:
        known, inf = objects.isfinite(), float("inf")
        self.low = objects.masked_fill(~known, inf).amin((0, 1))  # [O, 2] each
        self.high = objects.masked_fill(~known, -inf).amax((0, 1))
        self.turns_low, self.turns_high = -_turning_places(-objects, -self.low), _turning_places(objects, self.high)

    def __call__(self, given: Tensor, horizon: int) -> Tensor:
        """Positions [B, n, O, 2] after the given ones [B, P, O, 2]; NaN where the last two are not both known. After a
        single given frame objects do not move."""
        last, before = given[:, -1], given[:, max(given.shape[1] - 2, 0)]
        low = torch.where(last < self.turns_low, self.low, self.turns_low)[:, None]
        high = torch.where(last > self.turns_high, self.high, self.turns_high)[:, None]
        steps = torch.arange(1, horizon + 1)[:, None, None]
        ahead = last[:, None] + steps * (last - before)[:, None] - low
        way = (high - low).clamp_min(1e-6)
        back_and_forth = ahead.remainder(2 * way)
        return low + torch.minimum(back_and_forth, 2 * way - back_and_forth)


def _turning_places(objects: Tensor, end: Tensor) -> Tensor:
    """[O, 2], on the side of large coordinates: where objects turn, else `end`. The turning point lies between two
    frames, so far beyond both that the way to it and back equals the displacement in the frame before or after,
    whichever was longer."""
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


@dataclass(frozen=True)
class Reference:
    """Detections in true frames: recorded positions `objects` [B, T, O, 2]; bool [B, T, O] each: `seen`, whether the
    object is found there, and `alarm`, whether it is found elsewhere."""

    objects: Tensor
    seen: Tensor
    alarm: Tensor

    def after(self, given: int) -> "Reference":
        """The frames after the first `given` ones."""
        return Reference(self.objects[:, given:], self.seen[:, given:], self.alarm[:, given:])

    def rally(self, given: int) -> "Reference":
        """`after`, with objects outside rallies not `seen` (`in_rally`)."""
        return replace(self.after(given), seen=in_rally(self.seen, given))


def in_rally(seen: Tensor, given: int) -> Tensor:
    """bool [B, n, O] of the frames after the first `given` ones of `seen` bool [B, given + n, O]: whether the object is
    seen in the last two given frames (or the only one) and in every frame since, including this one."""
    start = max(given - SHOWS_MOTION, 0)
    return seen[:, start:].long().cumprod(1)[:, given - start :].bool()


def reference(detector: ObjectDetector, frames: Tensor, objects: Tensor) -> Reference:
    """The `Reference` of true frames [B, T, C, H, W] in [0, 1] and recorded positions [B, T, O, 2]."""
    found = detector.blobs(frames.flatten(0, 1))
    found = found.where(detector.are_objects(found))
    own = detector.distance(found, objects.flatten(0, 1)) <= detector.tolerance
    seen, alarm = (_totals(found.where(chosen), objects.shape[:3]) > 0 for chosen in (own, ~own))
    return Reference(objects, seen, alarm)


def places(detector: ObjectDetector, blobs: Blobs, shape: tuple[int, int, int]) -> Tensor:
    """Positions [B, n, O, 2] = (x, y) in pixels from the blobs of B·n pictures, `shape` B, n, O; NaN where an object is
    not found exactly once."""
    found = blobs.where(detector.are_objects(blobs))
    once = _totals(found, shape) == 1
    where = torch.stack([_totals(found, shape, found.place[:, axis]) for axis in range(2)], dim=-1)
    return where.float().masked_fill(~once[..., None], float("nan"))


def blobs_at(where: Tensor) -> Blobs:
    """One blob of the object's own mass at each position of `where` [B, n, O, 2] that is not NaN."""
    there = where.flatten(0, 1).isfinite().all(-1)  # [N, O]
    picture, index = torch.nonzero(there, as_tuple=True)
    return Blobs(picture, index, where.flatten(0, 1)[there], torch.ones(len(picture)))


def _totals(blobs: Blobs, shape: tuple[int, int, int], values: Tensor | None = None) -> Tensor:
    """Sums of `values` [M] (default: ones) over the blobs of each object in each picture, float64 of `shape` [B, n,
    O]."""
    values = torch.ones(len(blobs.mass)) if values is None else values
    totals = torch.zeros(math.prod(shape), dtype=torch.float64)
    return totals.index_add_(0, blobs.picture * shape[2] + blobs.object, values.double()).view(shape)


class ObjectPresence(AdditiveMetric):
    """Shares of frames in which each object is found, found twice, and found though absent, and its distances, over a
    `horizon` n."""

    def __init__(self, detector: ObjectDetector, horizon: int) -> None:
        super().__init__()
        self.detector = detector
        shape = detector.num_objects, horizon
        self.add_sums("seen", "present", "in_place", "doubled", "mass", "distance", "distance_squared", shape=shape)
        self.add_sums("absent", "invented", "frames", "alarms", shape=shape)
        bins = math.ceil(math.hypot(*detector.background.shape[-2:]) / BIN)
        self.add_sums("distances", shape=(*shape, bins))
        self.add_sums("clip_sums", shape=(len(PARTS), len(fields(ClipSums)), detector.num_objects))

    def update(self, frames: Tensor | Blobs, truth: Reference) -> None:
        """Frames [B, n, C, H, W] in [0, 1] (broadcastable), or the blobs of B·n pictures; and the true ones."""
        shape = truth.seen.shape
        if isinstance(frames, Tensor):
            frames = self.detector.blobs(frames.expand(*shape[:2], *frames.shape[2:]).flatten(0, 1))
        found = frames.where(self.detector.are_objects(frames))
        count = _totals(found, shape)
        away = torch.full((math.prod(shape),), float("inf")).scatter_reduce(
            0, found.picture * shape[2] + found.object,
            self.detector.distance(found, truth.objects.flatten(0, 1)), "amin",
        ).view(shape)  # fmt: skip
        present, absent = truth.seen & (count > 0), truth.objects.isnan().any(-1)
        distance = away.where(present, 0).double()
        counted = {
            "seen": truth.seen,
            "present": present,
            "in_place": present & (away <= self.detector.tolerance),
            "doubled": truth.seen & (count > 1),
            "mass": _totals(frames, shape, frames.mass) * truth.seen,
            "distance": distance,
            "distance_squared": distance**2,
            "absent": absent,
            "invented": absent & (count > 0),
            "frames": torch.ones(truth.seen.shape),
            "alarms": truth.alarm,
        }
        for name, values in counted.items():
            getattr(self, name).add_(values.sum(0).T)
        for number, (part, whole) in enumerate(PARTS.items()):
            sums = ClipSums.of(*(counted[name].double().sum(1) for name in (part, whole)))
            self.clip_sums[number] += torch.stack(astuple(sums))
        row, step, index = torch.nonzero(present, as_tuple=True)
        bins = (away[row, step, index] / BIN).long().clamp_max(self.distances.shape[-1] - 1)
        self.distances.index_put_((index, step, bins), torch.ones(len(bins), dtype=torch.float64), accumulate=True)

    def compute(self) -> dict[str, Tensor]:
        """Of each object [O], and under `<name>_by_horizon` [O, n]; NaN without data:

        `present`: share of the `seen` frames (the true one shows the object) in which it is found; `in_place`: within
        the detector's tolerance of its true position; `doubled`: more than once. `mass`: remaining mass in pieces of
        any size, 1 for all. `distance_mean`, `distance_median`: pixels from its true position where it is found (the
        nearest of several). `invented`: share of the `absent` frames (no position recorded) in which it is found.
        `false_alarms`: share of all true frames in which the detector finds it elsewhere. `<name>_low` and
        `<name>_high` of present, in_place, doubled, invented and distance_mean: the ends of the 95% interval over clips
        (`genie.metrics.intervals`).
        """
        states = {name: state for name, state in self.metric_state.items() if name != "clip_sums"}
        by_horizon = _shares(states) | self._intervals_by_horizon()
        overall = _shares({name: state.sum(1) for name, state in states.items()}) | self._intervals()
        return overall | {f"{name}_by_horizon": value for name, value in by_horizon.items()}

    def _intervals(self) -> dict[str, Tensor]:
        found = {}
        for part, sums in zip(PARTS, itertools.starmap(ClipSums, self.clip_sums), strict=True):
            found |= _ends(part, *(sums.mean_interval() if part == "distance" else sums.share_interval()))
        return found

    def _intervals_by_horizon(self) -> dict[str, Tensor]:
        found = {}
        for part, whole in PARTS.items():
            total, count = getattr(self, part), getattr(self, whole)  # one frame of each clip
            sums = ClipSums(total, count, self.distance_squared, total, count, count)
            found |= _ends(part, *(sums.mean_interval() if part == "distance" else wilson(total / count, count)))
        return found


def _ends(part: str, low: Tensor, high: Tensor) -> dict[str, Tensor]:
    name = "distance_mean" if part == "distance" else part
    return {f"{name}_low": low.float(), f"{name}_high": high.float()}


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
    """Median in pixels [...] of counts [..., Q] in bins of `BIN`, exact to one bin; NaN without counts."""
    below = histogram.cumsum(-1)
    half = below[..., -1:] / 2
    middle = (below < half).sum(-1, keepdim=True).clamp_max(histogram.shape[-1] - 1)  # bin of the median
    inside = histogram.gather(-1, middle)
    share = (half - (below.gather(-1, middle) - inside)) / inside
    return ((middle + share) * BIN)[..., 0]
