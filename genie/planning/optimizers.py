"""Optimisers CEM and MPPI, receding horizon (MPC), and planners from the group `planner`.

CEM: the cross-entropy method (Rubinstein 1999) with ideas of iCEM (Pinneri et al. 2020, arXiv 2008.06389): coloured
noise, and the best candidate and the mean of one iteration are candidates of the next. MPPI: model predictive path
integral control (Williams et al. 2017), which weights every candidate by the exponential of its worth.

Dimension letters: `B` states, `H` steps, `A` numbers of an action, `K` actions.
"""

from typing import Any

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.common.settings.schema import parse
from genie.common.settings.world import CemSearch, MppiSearch, RefinedSearch, Search
from genie.planning.distributions import Categorical, Distribution, Gaussian, uniform
from genie.planning.objective import Value
from genie.planning.search import Plan, RandomShooting, Scored
from genie.world.protocol import State, World

SMALLEST = 1e-8  # standard deviation of the worths below which all count as equal


class Refined(RandomShooting):
    """A search of several iterations; subclasses define how candidates move the distribution (`improved`)."""

    settings: RefinedSearch

    @property
    def iterations(self) -> int:
        return self.settings.iterations

    def start(self, guess: Tensor | None, batch: int) -> Distribution:
        """A Gaussian around 0, or K equally likely actions; moved towards the guess by the share `warm_start`."""
        plain = uniform(self.world.action_space, batch, self.horizon, self.world.device)
        if not isinstance(plain, Categorical):
            mean = torch.zeros(plain.shape, device=self.world.device)
            plain = Gaussian(mean, torch.full_like(mean, self.settings.std))
        if guess is None:
            return plain
        one = torch.ones(batch, 1, device=self.world.device)
        return plain.mixed(plain.fitted(guess[:, None], one).as_wide_as(plain), 1 - self.settings.warm_start)


class CrossEntropy(Refined):
    """Fits the distribution to the best candidates, equally weighted."""

    settings: CemSearch

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        settings = self.settings
        elites = max(2, round(settings.elites * scored.worth.shape[1]))
        best = scored.candidates[:, :elites]
        weights = torch.full(best.shape[:2], 1 / best.shape[1], device=best.device)
        fitted = distribution.fitted(best, weights)
        return distribution.mixed(fitted, settings.momentum).softened(settings.min_std, settings.smoothing)


class PathIntegral(Refined):
    """Moves the weighted mean and keeps the spread. The temperature is in standard deviations of the candidates' worth,
    so that it does not depend on the scale of the rewards."""

    settings: MppiSearch

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution:
        worth = scored.worth
        spread = worth.std(1, keepdim=True, correction=0).clamp_min(SMALLEST)
        weights = ((worth - worth[:, :1]) / (self.settings.temperature * spread)).softmax(1)
        fitted = distribution.fitted(scored.candidates, weights).as_wide_as(distribution)
        return fitted.softened(0.0, self.settings.smoothing)


class RecedingHorizon:
    """Takes `execute` actions, 1 … the horizon, of each plan of an optimiser before the next search."""

    def __init__(self, optimizer: RandomShooting, execute: int) -> None:
        self.optimizer, self.execute = optimizer, execute
        self.horizon, self.discount = optimizer.horizon, optimizer.discount

    def plan(self, state: State, seed: int | Tensor, previous: Plan | None = None) -> Plan:
        """The rest of the previous plan while it lasts, else a new plan that starts from it."""
        if previous is not None and previous.age + 1 < self.execute:
            return previous.later()
        return self.optimizer.plan(state, seed, previous)


OPTIMIZERS = {
    "random_shooting": (RandomShooting, Search),
    "cem": (CrossEntropy, CemSearch),
    "mppi": (PathIntegral, MppiSearch),
}
Planner = RandomShooting | RecedingHorizon


def check_planner(group: dict[str, Any]) -> None:
    """Raises UserError for the first invalid value of a group `planner`, in one line."""
    mpc = group["name"] == "mpc"
    _, settings = _optimizer(group["optimizer"] if mpc else group)
    execute = group["execute"] if mpc else 1
    if not isinstance(execute, int) or isinstance(execute, bool) or not 1 <= execute <= settings.horizon:
        raise UserError(
            f"planner.execute={execute} must be a whole number in 1 … planner.optimizer.horizon={settings.horizon}"
        )


def build_planner(group: dict[str, Any], world: World, value: Value | None = None) -> Planner:
    """The planner of a group, in a world. Raises UserError for invalid values and a world without rewards.

    `value`: the return after the last step, such as a policy's critic.
    """
    check_planner(group)
    if not world.knows_rewards:
        name = world.config.get("name", "<name>")
        raise UserError(
            "planning needs a world that predicts rewards, and this one does not: train them with "
            f"`python -m genie.train stage=reward name={name}`"
        )
    mpc = group["name"] == "mpc"
    optimizer, settings = _optimizer(group["optimizer"] if mpc else group)
    search = optimizer(world, settings, value)
    return RecedingHorizon(search, group["execute"]) if mpc else search


def _optimizer(group: dict[str, Any]) -> tuple[type[RandomShooting], Search]:
    if group["name"] not in tuple(OPTIMIZERS):  # a list cannot be looked up
        raise UserError(f"planner.name={group['name']}: choose one of {', '.join([*OPTIMIZERS, 'mpc'])}")
    optimizer, kind = OPTIMIZERS[group["name"]]
    return optimizer, parse(kind, group, "planner.")
