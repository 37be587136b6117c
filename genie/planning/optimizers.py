"""Optimisers CEM and MPPI, receding horizon (MPC), and planners from the settings of the group `planner`.

CEM: the cross-entropy method (Rubinstein 1999) with ideas of iCEM (Pinneri et al. 2020, arXiv 2008.06389): coloured
noise, and the best candidate and the mean of one iteration are candidates of the next. MPPI: model predictive path
integral control (Williams et al. 2017), which weights every candidate by the exponential of its worth.

Dimension letters: `B` states, `H` steps, `A` numbers of an action, `K` actions.
"""

import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.common.settings.world import AnyPlanner, CemSearch, MppiSearch, RefinedSearch, ReplannedSearch, Search
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


Planner = RandomShooting | RecedingHorizon
OPTIMIZERS = {Search: RandomShooting, CemSearch: CrossEntropy, MppiSearch: PathIntegral}


def search_of(planner: AnyPlanner) -> Search:
    """The settings of a planner's optimiser."""
    return planner.optimizer if isinstance(planner, ReplannedSearch) else planner


def check_planner(planner: AnyPlanner) -> None:
    """Raises UserError for settings that exclude each other, in one line."""
    horizon = search_of(planner).horizon
    if isinstance(planner, ReplannedSearch) and planner.execute > horizon:
        raise UserError(
            f"planner.execute={planner.execute} must be a whole number in 1 … planner.optimizer.horizon={horizon}"
        )


def build_planner(planner: AnyPlanner, world: World, value: Value | None = None) -> Planner:
    """The planner of these settings, in a world. Raises UserError for invalid ones and a world without rewards.

    `value`: the return after the last step, such as a policy's critic.
    """
    check_planner(planner)
    if not world.knows_rewards:
        name = world.config.get("name", "<name>")
        raise UserError(
            "planning needs a world that predicts rewards, and this one does not: train them with "
            f"`python -m genie.train stage=reward name={name}`"
        )
    settings = search_of(planner)
    if settings.uncertainty and not world.knows_uncertainty:
        raise UserError(
            f"planner.uncertainty={settings.uncertainty:g}: this world does not say how unsure it is; choose one of "
            "tokens"
        )
    search = OPTIMIZERS[type(settings)](world, settings, value)
    return RecedingHorizon(search, planner.execute) if isinstance(planner, ReplannedSearch) else search
