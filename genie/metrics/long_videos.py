"""Metrics of long videos without aligned truth: presence and speed of objects, points, flicker.

Generated games are compared with other real games as a whole.

Flicker: a world that drops old frames when its window is full and restarts with the kept ones may produce a jump each
time. With c_t the mean absolute difference of frame t from the one before it, P(f) the power of c at the frequency f
(Welch: the mean over stretches of `PERIODS` periods that overlap by half, mean removed, Hann window), and p the period,

    flicker = P(1/p) / median of P(f) over 1/(2p) ≤ f ≤ 3/(2p), without the bins that 1/p leaks into

Dimension letters: `N` videos, `T` frames, `O` objects, `C H W` channels and pixels, `F` frequencies.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import places

MOST_FRAMES = 512  # through the detector at once
GONE = 3  # frames without the ball that make a point; a paddle hides it for one
EDGE = 0.1  # of the field's width, from the end at which the ball is last seen
NEAR = 5  # frames between a point and its reward
PERIODS = 16  # of a stretch, so that the period is bin number 16
LEAK = 2  # bins on each side into which a Hann window spreads a sharp line


@dataclass(frozen=True)
class Track:
    """Objects in one video: `counts` int64 [T, O] of detections; `places` float [T, O, 2] = (x, y) in pixels, NaN
    unless found exactly once."""

    counts: Tensor
    places: Tensor


def locate(detector: ObjectDetector, frames: Tensor) -> list[Track]:
    """Tracks of the objects in videos uint8 [N, T, C, H, W]."""
    shape = (*frames.shape[:2], detector.num_objects)
    counts, where = [], []
    for part in frames.flatten(0, 1).split(MOST_FRAMES):
        blobs = detector.blobs(part.cpu().float() / 255)
        blobs = blobs.where(detector.are_objects(blobs))
        count = torch.zeros(len(part), detector.num_objects, dtype=torch.int64)
        count.index_put_((blobs.picture, blobs.object), torch.ones_like(blobs.picture), accumulate=True)
        counts.append(count)
        where.append(places(detector, blobs, (1, *count.shape))[0])
    pairs = zip(torch.cat(counts).view(shape), torch.cat(where).view(*shape, 2), strict=True)
    return [Track(*pair) for pair in pairs]


def shares(tracks: Iterable[Track], least: int = 1) -> Tensor:
    """Share of all frames [O] in which each object is found at least `least` times."""
    return torch.cat([track.counts >= least for track in tracks]).double().mean(0)


def shares_by_quarter(tracks: Iterable[Track], least: int = 1) -> Tensor:
    """`shares` for each quarter of the videos, [4, O]."""
    quarters = zip(*[(track.counts >= least).double().tensor_split(4) for track in tracks], strict=True)
    return torch.stack([torch.cat(parts).mean(0) for parts in quarters])


def speeds(tracks: Iterable[Track], index: int) -> Tensor:
    """Pixels per frame [n] of object number `index`, between consecutive frames with exactly one of it."""
    moves = torch.cat([track.places[:, index].diff(dim=0).norm(dim=-1) for track in tracks])
    return moves[moves.isfinite()]


def ks_distance(first: Tensor, second: Tensor) -> float:
    """Kolmogorov-Smirnov distance of two samples [n], [m], the largest difference of their distribution functions; NaN
    where one is empty."""
    if not len(first) or not len(second):
        return torch.nan
    everything = torch.cat([first, second]).sort().values
    ranks = [
        torch.searchsorted(sample.sort().values, everything, right=True) / len(sample) for sample in (first, second)
    ]
    return float((ranks[0] - ranks[1]).abs().max())


def points(track: Track, index: int, field: tuple[float, float]) -> Tensor:
    """int64 [T]: -1 in the last frame before object number `index` leaves at the left, 1 at the right, else 0. It
    leaves where it is found exactly once, within `EDGE` of the left or right end of the `field` (the least and the
    largest x at which it is ever recorded), and then in none of `GONE` frames, all within the video."""
    seen, x = track.counts[:, index] > 0, track.places[:, index, 0]
    left, right = field
    margin = EDGE * (right - left)
    gone = torch.zeros_like(seen)
    if len(seen) > GONE:
        gone[:-GONE] = ~seen.unfold(0, GONE, 1)[1:].any(-1)
    return ((x >= right - margin) & gone).long() - ((x <= left + margin) & gone).long()


def agreement(found: Tensor, rewards: Tensor) -> tuple[int, int, int, int]:
    """Numbers of non-zero `rewards` [T], of those with one of the `points` int64 [T] at most `NEAR` frames away, of
    points, and of those with a reward."""
    moments, paid = torch.nonzero(found)[:, 0], torch.nonzero(rewards)[:, 0]
    near = (moments[:, None] - paid[None]).abs() <= NEAR  # [points, rewards]
    return len(paid), int(near.any(0).sum()), len(moments), int(near.any(1).sum())


def least_changes(period: int) -> int:
    """Minimum number of c_t of a video."""
    return PERIODS * period


def change_spectrum(changes: Iterable[Tensor], period: int) -> Tensor:
    """P float64 [F] of videos with the changes c float [T-1], at the frequencies k / (`PERIODS` · `period`) per frame,
    k = 0 … F-1; those shorter than `least_changes` are skipped, ValueError where all are."""
    length = least_changes(period)
    stretches = [one.double().unfold(0, length, length // 2) for one in changes if len(one) >= length]
    if not stretches:
        raise ValueError(f"no video is longer than {length} frames")
    stretches = torch.cat(stretches)
    tapered = (stretches - stretches.mean(1, keepdim=True)) * torch.hann_window(length, dtype=torch.float64)
    return torch.fft.rfft(tapered).abs().square().mean(0)


def flicker(spectrum: Tensor) -> float:
    """Power of a `change_spectrum` at its period relative to the neighbourhood: 1 for no flicker, NaN without any
    changes."""
    numbers = torch.arange(len(spectrum))
    near = (2 * numbers >= PERIODS) & (2 * numbers <= 3 * PERIODS) & ((numbers - PERIODS).abs() > LEAK)
    around = spectrum[near].median()
    return float(spectrum[PERIODS] / around) if around > 0 else torch.nan
