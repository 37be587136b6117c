"""Confidence intervals of means, shares and differences, and optimism of plans.

A planner looks for what its world rewards most, and so finds where the world is wrong in its favour. The rewards that
were imagined for each plan are therefore compared with those that came in the same steps. The latter follow from plans
made meanwhile, so they may well be higher; they are much lower only where the world's rewards mislead the planner.
"""

from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import t

from genie.agents.episodes import Episode
from genie.common.plots import save_figure
from genie.metrics.intervals import CONFIDENCE, wilson

QUANTILE = (1 + CONFIDENCE) / 2
LEAST_PAIRS = 3  # for a correlation


@dataclass(frozen=True)
class Estimate:
    """`mean` of `count` values, between `low` and `high` with 95% confidence; NaN where there are too few."""

    mean: float
    low: float
    high: float
    std_error: float
    count: int


def mean_of(values: list[float]) -> Estimate:
    """By Student's t distribution."""
    count = len(values)
    mean = float(np.mean(values)) if values else nan
    if count < 2:
        return Estimate(mean, nan, nan, nan, count)
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


@dataclass(frozen=True)
class PromisedAndTrue:
    """The discounted rewards of the plan made in `step` of an episode: `imagined`, and as they came (`true`)."""

    episode: int
    step: int
    imagined: float
    true: float


@dataclass(frozen=True)
class PlanOptimism:
    """`gap`: imagined minus true, averaged within each episode and then over episodes, as steps of one episode are not
    independent. `correlation` over all pairs, NaN where one side is constant."""

    pairs: int
    imagined: float
    true: float
    gap: Estimate
    correlation: float


def pairs_of(episode: Episode, horizon: int, discount: float) -> list[PromisedAndTrue]:
    """The pairs of all plans whose horizon was played to its end; after a terminal step rewards are 0."""
    rewards = np.array(episode.rewards)
    weights = discount ** np.arange(horizon)
    found = []
    for step, imagined in episode.imagined:
        came = rewards[step : step + horizon]
        if len(came) == horizon or episode.terminal:
            found.append(PromisedAndTrue(episode.number, step, imagined, float((came * weights[: len(came)]).sum())))
    return found


def optimism_of(pairs: list[PromisedAndTrue]) -> PlanOptimism | None:
    """None without a pair."""
    if not pairs:
        return None
    imagined, true = np.array([pair.imagined for pair in pairs]), np.array([pair.true for pair in pairs])
    episodes = np.array([pair.episode for pair in pairs])
    gaps = [float((imagined - true)[episodes == number].mean()) for number in np.unique(episodes)]
    varied = len(pairs) >= LEAST_PAIRS and imagined.std() > 0 and true.std() > 0
    correlation = float(np.corrcoef(imagined, true)[0, 1]) if varied else nan
    return PlanOptimism(len(pairs), float(imagined.mean()), float(true.mean()), mean_of(gaps), correlation)


def plot_pairs(pairs: list[PromisedAndTrue], path: Path) -> None:
    """True against imagined rewards, a dot for each plan."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    imagined, true = [pair.imagined for pair in pairs], [pair.true for pair in pairs]
    axes.scatter(imagined, true, s=8, alpha=0.5)
    ends = min(imagined + true), max(imagined + true)
    axes.plot(ends, ends, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="imagined rewards of the plan", ylabel="rewards that came in the same steps")
    axes.grid(alpha=0.3)
    save_figure(figure, path)
