"""Search for plans under a time budget: the loop of all optimisers, which alone is random shooting.

An iteration draws candidates, imagines them and moves the distribution that they are drawn from.

Dimension letters: `B` states, `N` candidates, `H` steps, `M` candidates that are kept, `A` numbers of an action.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.random import row_seeds
from genie.common.settings.world import Search
from genie.planning.distributions import Distribution, PlanNoise, uniform
from genie.planning.objective import PlanObjective, Value
from genie.world.protocol import State, World

FINALISTS = 4  # candidates that a plan keeps


class Deadline:
    """A time budget of `seconds` from now on, None: unlimited. A piece of work starts while it is likely to fit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.started, self.longest = seconds, time.monotonic(), 0.0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def fits(self) -> bool:
        """Whether a piece as long as the longest so far would end in time."""
        return self.seconds is None or self.elapsed + self.longest <= self.seconds

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Around each piece of work."""
        begun = self.elapsed
        yield
        self.longest = max(self.longest, self.elapsed - begun)


@dataclass(frozen=True)
class Plan:
    """Actions for B states.

    Attributes:
        actions: int64 [B, H], or float [B, H, A] in [-1, 1].
        value: float [B], their worth by the objective, with its penalties and the value of the last state.
        imagined_return: float [B], the discounted rewards alone.
        candidates: [B, M, H] or [B, M, H, A], the best ones of the search, best first; the plan is the first.
        num_candidates: imagined for each state; a time budget may reduce it.
        seconds: that the search took.
        age: number of its actions that were taken already.
    """

    actions: Tensor
    value: Tensor
    imagined_return: Tensor
    candidates: Tensor
    num_candidates: int
    seconds: float
    age: int = 0

    @property
    def first(self) -> Tensor:
        """The actions [B] or [B, A] to take now."""
        return self.actions[:, 0]

    def later(self) -> "Plan":
        """The same plan one step later: the last action is repeated at its end."""
        return replace(self, actions=torch.cat([self.actions[:, 1:], self.actions[:, -1:]], dim=1), age=self.age + 1)

    def select(self, index: Tensor | list[int]) -> "Plan":
        at = torch.as_tensor(index, device=self.actions.device)
        rows = {name: getattr(self, name)[at] for name in ("actions", "value", "imagined_return", "candidates")}
        return replace(self, **rows)


@dataclass(frozen=True)
class Scored:
    """Candidates [B, N, …], best first, with their worth and rewards [B, N]."""

    candidates: Tensor
    worth: Tensor
    rewards: Tensor

    @classmethod
    def ordered(cls, candidates: Tensor, worth: Tensor, rewards: Tensor) -> "Scored":
        """Sorts candidates, stably."""
        order = worth.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(worth), device=worth.device)[:, None]
        return cls(candidates[rows, order], worth[rows, order], rewards[rows, order])


class RandomShooting:
    """Draws all candidates uniformly from the whole space, and takes the best.

    `world` predicts rewards; `settings`: see conf/planner/; `value`: see `PlanObjective`.
    """

    iterations = 1  # in each of which all candidates are drawn

    def __init__(self, world: World, settings: Search, value: Value | None = None) -> None:
        self.world, self.settings = world, settings
        self.horizon, self.discount = settings.horizon, settings.discount
        self.objective = PlanObjective(
            world, settings.discount, settings.effort, settings.change, settings.end, settings.batch_size, value,
            settings.uncertainty,
        )  # fmt: skip

    def start(self, guess: Tensor | None, batch: int) -> Distribution:
        """The first distribution; `guess` [B, H, …]: the sequence found one step before."""
        return uniform(self.world.action_space, batch, self.horizon, self.world.device)

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution | None:
        """The next distribution; None: the best candidate is the plan."""
        return None

    @torch.no_grad()
    def plan(self, state: State, seed: int | Tensor, previous: Plan | None = None) -> Plan:
        """Plans for the B rows of `state`; without a time budget, a function of the state and the seed (one, or int64
        [B]). `previous`: the plan of the step before, from which the search starts."""
        settings, device, space = self.settings, self.world.device, self.world.action_space
        numbers = 1 if isinstance(space, spaces.Discrete) else space.shape[0]
        state = self.world.warmed(state)
        deadline, noise = Deadline(settings.seconds), PlanNoise(row_seeds(seed, len(state), device))
        guess = None if previous is None else previous.later().actions
        known = [] if guess is None else [guess]
        distribution = self.start(guess, len(state))
        count = 0
        for iteration in range(self.iterations):
            if iteration > 0 and not deadline.fits():
                break
            shape = settings.candidates - len(known), self.horizon, numbers
            z = noise.normal(iteration, shape, settings.hold, settings.colour)
            candidates = torch.cat([sequence[:, None] for sequence in known] + [distribution.draw(z)], dim=1)
            scored = self._scored(state, candidates, noise, iteration, deadline)
            count += scored.worth.shape[1]
            distribution = self.improved(distribution, scored)
            known = [scored.candidates[:, 0]] + ([] if distribution is None else [distribution.mode])
        if distribution is not None and deadline.fits():
            # The mode was not imagined yet. In a stochastic world, imagining the best ones again rules out lucky draws.
            finalists = torch.cat([scored.candidates[:, :FINALISTS], distribution.mode[:, None]], dim=1)
            scored = self._scored(state, finalists, noise, self.iterations, deadline)
            count += finalists.shape[1]
        candidates = scored.candidates[:, :FINALISTS]
        return Plan(candidates[:, 0], scored.worth[:, 0], scored.rewards[:, 0], candidates, count, deadline.elapsed)

    def _scored(self, state: State, candidates: Tensor, noise: PlanNoise, iteration: int, deadline: Deadline) -> Scored:
        """Candidates [B, N, …] imagined in pieces of at most `batch_size` rows: at least one piece, else as many as the
        time allows."""
        settings = self.settings
        futures = noise.futures(iteration, candidates.shape[1], settings.particles, settings.common_noise)
        size = max(1, settings.batch_size // (len(state) * settings.particles))
        parts: list[tuple[Tensor, Tensor]] = []
        for piece, seeds in zip(candidates.split(size, dim=1), futures.split(size, dim=1), strict=True):
            if parts and not deadline.fits():
                break
            with deadline.piece():
                parts.append(self.objective(state, piece, seeds))
        worth, rewards = (torch.cat(column, dim=1) for column in zip(*parts, strict=True))
        return Scored.ordered(candidates[:, : worth.shape[1]], worth, rewards)
