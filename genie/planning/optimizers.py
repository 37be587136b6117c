"""CEM, MPPI and MPC.

Optimisers that draw again, from a distribution that moves towards what was good.

The cross-entropy method (Rubinstein 1999): draw, keep the best few, fit what is drawn from to them, and again.

With ideas of iCEM (Pinneri et al. 2020, arXiv 2008.06389): coloured noise, and the best candidate and the mean of one
iteration are candidates of the next.

Model predictive path integral control (Williams et al. 2017): every candidate counts, by the exponential of its
worth.

Receding horizon: some actions of a plan are done before the next is made.

A planner from the group `planner` of a configuration.

Dimension letters: `B` states, `H` steps, `A` numbers of an action, `K` actions.
"""

from typing import Any

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.planning.distributions import Categorical, Distribution, Gaussian, uniform
from genie.planning.objective import Value
from genie.planning.search import Plan, RandomShooting, Scored
from genie.planning.settings import CemSettings, MppiSettings, RefinedSettings, SearchSettings, settings_from
from genie.world.protocol import State, World


class Refined(RandomShooting):
    """A search of several iterations; subclasses say how candidates move the distribution (`improved`)."""

    settings: RefinedSettings

    @property
    def iterations(self) -> int:
        return self.settings.iterations

    def start(self, guess: Tensor | None, batch: int) -> Distribution:
        """Around no action of numbers, or all of K alike; `warm_start` of the way to the guess where there is one."""
        plain = self._plain(batch)
        if guess is None:
            return plain
        one = torch.ones(batch, 1, device=self.world.device)
        return plain.mixed(plain.fitted(guess[:, None], one).as_wide_as(plain), 1 - self.settings.warm_start)

    def _plain(self, batch: int) -> Gaussian | Categorical:
        space = uniform(self.world.action_space, batch, self.horizon, self.world.device)
        if isinstance(space, Categorical):
            return space
        mean = torch.zeros(space.shape, device=self.world.device)
        return Gaussian(mean, torch.full_like(mean, self.settings.std))


class CrossEntropy(Refined):
    """Elites count alike, all others nothing."""

    settings: CemSettings

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        settings = self.settings
        elites = max(2, round(settings.elites * scored.worth.shape[1]))
        best = scored.candidates[:, :elites]
        weights = torch.full(best.shape[:2], 1 / best.shape[1], device=best.device)
        fitted = distribution.fitted(best, weights)
        return distribution.mixed(fitted, settings.momentum).softened(settings.min_std, settings.smoothing)


SMALLEST = 1e-8  # spread of the worths below which all are alike


class PathIntegral(Refined):
    """The weighted mean moves; how far is drawn around it stays. The temperature counts in standard deviations of the
    candidates' worth, so that it means the same for rewards of any size."""

    settings: MppiSettings

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        worth = scored.worth
        spread = worth.std(1, keepdim=True, correction=0).clamp_min(SMALLEST)
        weights = ((worth - worth[:, :1]) / (self.settings.temperature * spread)).softmax(1)
        fitted = distribution.fitted(scored.candidates, weights).as_wide_as(distribution)
        return fitted.softened(0.0, self.settings.smoothing)


class RecedingHorizon:
    """Any optimiser; `execute` actions of each plan are taken, 1 … the horizon. The optimisers alone take one."""

    def __init__(self, optimizer: RandomShooting, execute: int) -> None:
        self.optimizer, self.execute = optimizer, execute

    @property
    def horizon(self) -> int:
        """H."""
        return self.optimizer.horizon

    @property
    def discount(self) -> float:
        """γ of a step."""
        return self.optimizer.discount

    def plan(self, state: State, seed: int | Tensor, previous: Plan | None = None) -> Plan:
        """The rest of the plan before while it lasts, else a new one that begins from it."""
        if previous is not None and previous.age + 1 < self.execute:
            return previous.later()
        return self.optimizer.plan(state, seed, previous)


OPTIMIZERS = {
    "random_shooting": (RandomShooting, SearchSettings),
    "cem": (CrossEntropy, CemSettings),
    "mppi": (PathIntegral, MppiSettings),
}
Planner = RandomShooting | RecedingHorizon


def check_planner(group: dict[str, Any]) -> None:
    """Raises UserError for the first value of a group `planner` that cannot be, in one line."""
    if group["name"] == "mpc":
        settings = _optimizer(group["optimizer"])[1]
        execute = group["execute"]
        if not isinstance(execute, int) or isinstance(execute, bool) or not 1 <= execute <= settings.horizon:
            raise UserError(
                f"planner.execute={execute} must be a whole number in 1 … planner.optimizer.horizon={settings.horizon}"
            )
    else:
        _optimizer(group)


def build_planner(group: dict[str, Any], world: World, value: Value | None = None) -> Planner:
    """The planner of a group, in a world. Raises UserError for values that cannot be and a world without rewards.

    `value`: what the state behind the last step is worth, such as a policy's critic.
    """
    check_planner(group)
    if not world.knows_rewards:
        name = world.config.get("name", "<name>")
        raise UserError(
            "planning needs a world that predicts rewards, and this one does not: train them with "
            f"`python -m genie.train stage=reward name={name}`"
        )
    optimizer, settings = _optimizer(group["optimizer"] if group["name"] == "mpc" else group)
    search = optimizer(world, settings, value)
    return RecedingHorizon(search, group["execute"]) if group["name"] == "mpc" else search


def _optimizer(group: dict[str, Any]) -> tuple[type[RandomShooting], SearchSettings]:
    if group["name"] not in tuple(OPTIMIZERS):  # a list cannot be looked up
        raise UserError(f"planner.name={group['name']}: choose one of {', '.join([*OPTIMIZERS, 'mpc'])}")
    optimizer, kind = OPTIMIZERS[group["name"]]
    return optimizer, settings_from(kind, group)
