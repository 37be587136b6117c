"""Did what was imagined come true? The check for plans that please the world's rewards and nobody else.

A planner looks for what its world rewards most, and so finds the places where the world is wrong in its favour. Beside
the rewards that were imagined for each plan stand those that truly came in the same steps. These follow from plans that
were made anew meanwhile, so they may well be better; much worse they are only where the world's rewards mislead.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genie.acting.episodes import Episode
from genie.acting.statistics import Estimate, mean_of
from genie.common.plots import save_figure

LEAST = 3  # pairs that a correlation is taken of


@dataclass(frozen=True)
class Pair:
    """Of the plan made in `step` of an episode: the discounted rewards imagined, and those that came."""

    episode: int
    step: int
    imagined: float
    true: float


@dataclass(frozen=True)
class Honesty:
    """`gap`: imagined minus true, the mean over episodes of each one's mean, so that its interval counts episodes and
    not steps, which are much alike. `correlation` of all pairs, NaN where one side never differs."""

    pairs: int
    imagined: float
    true: float
    gap: Estimate
    correlation: float


def pairs_of(episode: Episode, horizon: int, discount: float) -> list[Pair]:
    """Of all plans whose horizon was played to its end; behind a true end nothing comes."""
    rewards = np.array(episode.rewards)
    weights = discount ** np.arange(horizon)
    found = []
    for step, imagined in episode.imagined:
        came = rewards[step : step + horizon]
        if len(came) == horizon or episode.terminal:
            found.append(Pair(episode.number, step, imagined, float((came * weights[: len(came)]).sum())))
    return found


def honesty_of(pairs: list[Pair]) -> Honesty | None:
    """None without a pair."""
    if not pairs:
        return None
    imagined, true = np.array([pair.imagined for pair in pairs]), np.array([pair.true for pair in pairs])
    episodes = np.array([pair.episode for pair in pairs])
    gaps = [float((imagined - true)[episodes == number].mean()) for number in np.unique(episodes)]
    varied = len(pairs) >= LEAST and imagined.std() > 0 and true.std() > 0
    correlation = float(np.corrcoef(imagined, true)[0, 1]) if varied else float("nan")
    return Honesty(len(pairs), float(imagined.mean()), float(true.mean()), mean_of(gaps), correlation)


def plot_pairs(pairs: list[Pair], path) -> None:
    """True against imagined rewards, a dot for each plan; on the line the world was right."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    imagined, true = [pair.imagined for pair in pairs], [pair.true for pair in pairs]
    axes.scatter(imagined, true, s=8, alpha=0.5)
    ends = min(imagined + true), max(imagined + true)
    axes.plot(ends, ends, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="imagined rewards of the plan", ylabel="rewards that came in the same steps")
    axes.grid(alpha=0.3)
    save_figure(figure, path)
