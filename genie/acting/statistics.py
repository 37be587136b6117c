"""How sure a mean is: 95% confidence intervals of means, shares and differences."""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import torch
from scipy.stats import t

from genie.metrics.intervals import CONFIDENCE, wilson

QUANTILE = (1 + CONFIDENCE) / 2


@dataclass(frozen=True)
class Estimate:
    """`mean` of so many values, between `low` and `high` with 95% confidence; NaN where there are too few to say."""

    mean: float
    low: float
    high: float
    std_error: float
    count: int


def mean_of(values: list[float]) -> Estimate:
    """By Student's t distribution."""
    count = len(values)
    if count == 0:
        return Estimate(nan, nan, nan, nan, 0)
    mean = float(np.mean(values))
    if count == 1:
        return Estimate(mean, nan, nan, nan, 1)
    error = float(np.std(values, ddof=1)) / sqrt(count)
    reach = float(t.ppf(QUANTILE, count - 1)) * error
    return Estimate(mean, mean - reach, mean + reach, error, count)


def share_of(hits: list[bool]) -> Estimate:
    """By Wilson's interval, which is right for few values and near 0 and 1, too."""
    count = len(hits)
    if count == 0:
        return Estimate(nan, nan, nan, nan, 0)
    share = sum(hits) / count
    low, high = (float(end) for end in wilson(*torch.tensor([share, count], dtype=torch.float64)))
    return Estimate(share, low, high, sqrt(share * (1 - share) / count), count)


def difference_of(values: list[float], others: list[float]) -> Estimate:
    """Mean of `values` minus mean of `others`, whose variances may differ (Welch). NaN where either is a single one."""
    mine, theirs = mean_of(values), mean_of(others)
    difference, squares = mine.mean - theirs.mean, [mine.std_error**2, theirs.std_error**2]
    error = sqrt(sum(squares))
    if not error > 0:  # NaN, or no spread at all
        bounds = (difference, difference) if error == 0 else (nan, nan)
        return Estimate(difference, *bounds, error, mine.count + theirs.count)
    parts = [square**2 / (count - 1) for square, count in zip(squares, (mine.count, theirs.count), strict=True)]
    reach = float(t.ppf(QUANTILE, sum(squares) ** 2 / sum(parts))) * error
    return Estimate(difference, difference - reach, difference + reach, error, mine.count + theirs.count)
