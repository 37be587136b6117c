"""Flicker: does a video change more at the period at which the world's window begins anew?

A world that sees a window of frames drops the older ones when it is full and begins anew with those that it keeps. What
it draws may jump then, again and again, which a person sees as a flicker. So: c_t is the mean absolute difference of
frame t from the one before it, P(f) the power of c at the frequency f (Welch: the mean over stretches of `PERIODS`
periods that overlap by half, without their mean and through a Hann window), and with p the period

    flicker = P(1/p) / median of P(f) over 1/(2p) ≤ f ≤ 3/(2p), without the bins that 1/p leaks into

Dimension letters: `T` frames, `F` frequencies.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

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
