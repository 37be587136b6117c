"""Objects and flicker in long videos.

Objects in long videos: in how many frames they are, how fast they move, and how often the ball leaves the field.

Nothing here needs the truth of the same moment: a generated game is compared with other real games as a whole.

Flicker: does a video change more at the period at which the world's window begins anew?

A world that sees a window of frames drops the older ones when it is full and begins anew with those that it keeps. What
it draws may jump then, again and again, which a person sees as a flicker. So: c_t is the mean absolute difference of
frame t from the one before it, P(f) the power of c at the frequency f (Welch: the mean over stretches of `PERIODS`
periods that overlap by half, without their mean and through a Hann window), and with p the period

    flicker = P(1/p) / median of P(f) over 1/(2p) ≤ f ≤ 3/(2p), without the bins that 1/p leaks into

Dimension letters: `N` videos, `T` frames, `O` objects, `C H W` channels and pixels.

Dimension letters: `T` frames, `F` frequencies.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from genie.metrics.object_detector import ObjectDetector
from genie.metrics.objects import places

MOST_FRAMES = 512  # through the detector at once
GONE = 3  # frames without the ball that make a point; behind a paddle it is hidden for one
EDGE = 0.1  # of the field's width: how near to its left or right end the ball has to be seen last
NEAR = 5  # frames between a point and the reward for it


@dataclass(frozen=True)
class Track:
    """Objects in one video: `counts` int64 [T, O], how often each is found; `places` float [T, O, 2] = (x, y) in
    pixels, NaN where it is not found exactly once."""

    counts: Tensor
    places: Tensor


def locate(detector: ObjectDetector, frames: Tensor) -> list[Track]:
    """The objects in N videos, uint8 [N, T, C, H, W]."""
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
    """Of each object [O], the share of all frames in which it is found at least so many times."""
    return torch.cat([track.counts >= least for track in tracks]).double().mean(0)


def shares_by_quarter(tracks: Iterable[Track], least: int = 1) -> Tensor:
    """The same for the first, second, third and last quarter of every video, [4, O]."""
    quarters = zip(*[(track.counts >= least).double().tensor_split(4) for track in tracks], strict=True)
    return torch.stack([torch.cat(parts).mean(0) for parts in quarters])


def speeds(tracks: Iterable[Track], index: int) -> Tensor:
    """Pixels per frame [n] of object number `index`, between any two frames that follow each other and have it exactly
    once."""
    moves = [track.places[:, index].diff(dim=0).norm(dim=-1) for track in tracks]
    moves = torch.cat(moves)
    return moves[moves.isfinite()]


def ks_distance(first: Tensor, second: Tensor) -> float:
    """The Kolmogorov-Smirnov distance of two samples [n], [m]: the largest difference of their distribution functions,
    0 for the same and 1 for those that do not overlap; NaN where one is empty."""
    if not len(first) or not len(second):
        return torch.nan
    everything = torch.cat([first, second]).sort().values
    ranks = [
        torch.searchsorted(sample.sort().values, everything, right=True) / len(sample) for sample in (first, second)
    ]
    return float((ranks[0] - ranks[1]).abs().max())


def points(track: Track, index: int, field: tuple[float, float]) -> Tensor:
    """int64 [T]: -1 in the frame in which object number `index` is seen last before it leaves at the left, 1 before it
    leaves at the right, else 0.

    It leaves where it is found exactly once, within `EDGE` of the left or right end of the `field` (the least and the
    largest x at which it is ever recorded), and then in none of `GONE` frames. One that vanishes in the middle does not
    leave, and what the end of the video cuts off is not counted.
    """
    seen, x = track.counts[:, index] > 0, track.places[:, index, 0]
    left, right = field
    margin = EDGE * (right - left)
    gone = torch.zeros_like(seen)
    if len(seen) > GONE:
        gone[:-GONE] = ~seen.unfold(0, GONE, 1)[1:].any(-1)
    return ((x >= right - margin) & gone).long() - ((x <= left + margin) & gone).long()


def agreement(found: Tensor, rewards: Tensor) -> tuple[int, int, int, int]:
    """What `points` int64 [T] have to do with the `rewards` [T] that came with the same frames: how many rewards there
    are other than 0, how many of them with a point at most `NEAR` frames away; how many points, how many with a reward.
    """
    moments, paid = torch.nonzero(found)[:, 0], torch.nonzero(rewards)[:, 0]
    near = (moments[:, None] - paid[None]).abs() <= NEAR  # [points, rewards]
    return len(paid), int(near.any(0).sum()), len(moments), int(near.any(1).sum())


PERIODS = 16  # of a stretch, so that the period is the bin number 16
LEAK = 2  # bins on each side into which a Hann window spreads a sharp line


def least_changes(period: int) -> int:
    """Numbers c_t that a video has to have."""
    return PERIODS * period


def change_spectrum(changes: Iterable[Tensor], period: int) -> Tensor:
    """P float64 [F] of videos with the changes c float [T-1], at the frequencies k / (`PERIODS` · `period`) per frame,
    k = 0 … F-1; shorter ones than `least_changes` are not counted. Raises ValueError where all are."""
    length = least_changes(period)
    stretches = [one.double().unfold(0, length, length // 2) for one in changes if len(one) >= length]
    if not stretches:
        raise ValueError(f"no video is longer than {length} frames")
    stretches = torch.cat(stretches)
    tapered = (stretches - stretches.mean(1, keepdim=True)) * torch.hann_window(length, dtype=torch.float64)
    return torch.fft.rfft(tapered).abs().square().mean(0)


def flicker(spectrum: Tensor) -> float:
    """How much stronger than its neighbourhood a `change_spectrum` is at its period: 1 for none, NaN where nothing
    changes at all."""
    numbers = torch.arange(len(spectrum))
    near = (2 * numbers >= PERIODS) & (2 * numbers <= 3 * PERIODS) & ((numbers - PERIODS).abs() > LEAK)
    around = spectrum[near].median()
    return float(spectrum[PERIODS] / around) if around > 0 else torch.nan
