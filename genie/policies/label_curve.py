"""What few labels are worth: the return of a policy in latent actions against the number of labelled transitions that
told it what they are called (Genie §3.3, figure 15)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_modules.clips import ClipDataset
from genie.common.files import replacing
from genie.common.random import fold_in
from genie.policies.exploring import Choose
from genie.policies.loading import Policy
from genie.world.action_map import ActionMap, fit_action_map
from genie.world.protocol import World

# what a player that chooses the world's actions earns in the environment, by episode: other ones for each draw
Play = Callable[[Choose, ActionMap, int], Sequence[float]]


@dataclass(frozen=True)
class Earned:
    """Returns of episodes, float [E], or [D, E] of several draws of labels with episodes of their own."""

    returns: np.ndarray

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.returns.mean())

    @property
    def error(self) -> float:
        """Its standard error: between draws, where there are several, else between episodes; 0 for a single one."""
        values = self.returns.mean(-1) if self.returns.ndim == 2 and len(self.returns) > 1 else self.returns.ravel()
        return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0


def return_against_labels(
    policy: Policy, world: World, clips: ClipDataset, labels: Sequence[int], play: Play, draws: int = 1, seed: int = 0
) -> dict[int, Earned]:
    """What `policy` earns, by number of labels.

    Args:
        clips: a recording with actions, from which the labelled transitions are drawn.
        labels: how many of them, in any order.
        play: plays the real environment.
        draws: of labels, for each number: which ones they are decides while they are few.
        seed: of the draws.
    """

    def earned(count: int, draw: int) -> Sequence[float]:
        return play(policy.choose, fit_action_map(world, clips, count, fold_in(seed, draw)), draw)

    return {
        count: Earned(np.array([earned(count, draw) for draw in range(draws)], dtype=np.float64)) for count in labels
    }


def draw(curve: dict[int, Earned], references: dict[str, Earned], picture: Path) -> None:
    """The curve as a PNG, with a line for each of the `references`, as in {"random": …, "expert": …}."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    counts = sorted(curve)
    axes.errorbar(counts, [curve[n].mean for n in counts], [curve[n].error for n in counts], marker="o", capsize=3)
    for colour, (name, earned) in enumerate(references.items(), 1):
        axes.axhline(earned.mean, color=f"C{colour}", linestyle="--", label=name)
        axes.axhspan(earned.mean - earned.error, earned.mean + earned.error, color=f"C{colour}", alpha=0.15)
    axes.set(xscale="log", xlabel="labelled transitions", ylabel="return of an episode")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend()
    with replacing(picture) as file:
        figure.savefig(file, format="png", dpi=120)
