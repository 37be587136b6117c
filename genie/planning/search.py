"""Search: random shooting and refined searches under a deadline.

A time budget: work in pieces goes on while the next piece is likely to fit.

What a planner gives: a plan is a value, from which the next one may begin.

The loop of all optimisers: draw candidates, imagine them, move what is drawn from. Alone it is random shooting.

Dimension letters: `B` states, `H` steps of a plan, `M` candidates that are kept, `A` numbers of an action.

Dimension letters: `B` states, `N` candidates, `H` steps, `A` numbers of an action.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.random import row_seeds
from genie.planning.distributions import Distribution, PlanNoise, uniform
from genie.planning.objective import PlanObjective, Value
from genie.planning.settings import SearchSettings
from genie.world.protocol import State, World


class Deadline:
    """`seconds` from now on; None: there is all the time."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.started, self.longest = seconds, time.monotonic(), 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
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
        actions: int64 [B, H], or float [B, H, A] in [-1, 1]; the first ones are to be taken now.
        value: float [B], what they are worth by the objective, with its penalties and the value of the last state.
        imagined_return: float [B], the discounted rewards alone.
        candidates: [B, M, H] or [B, M, H, A], the best ones of the search, best first; the plan is the first.
        num_candidates: how many were imagined for each state; with a time budget fewer than were asked for.
        seconds: that the search took.
        age: how many actions of the plan that the search gave are done already.
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
        """The same plan one step on: the last action is repeated at its end."""
        return replace(self, actions=torch.cat([self.actions[:, 1:], self.actions[:, -1:]], dim=1), age=self.age + 1)

    def select(self, index: Tensor | list[int]) -> "Plan":
        """The plans of the rows `index`."""
        at = torch.as_tensor(index, device=self.actions.device)
        rows = {name: getattr(self, name)[at] for name in ("actions", "value", "imagined_return", "candidates")}
        return replace(self, **rows)


FINALISTS = 4  # candidates that a plan names


@dataclass(frozen=True)
class Scored:
    """Candidates [B, N, …], best first, with their worth and rewards [B, N]."""

    candidates: Tensor
    worth: Tensor
    rewards: Tensor

    @classmethod
    def ordered(cls, candidates: Tensor, worth: Tensor, rewards: Tensor) -> "Scored":
        """From candidates in any order; of equal ones the first stays first."""
        order = worth.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(worth), device=worth.device)[:, None]
        return cls(candidates[rows, order], worth[rows, order], rewards[rows, order])


class RandomShooting:
    """Draws all candidates alike from the whole space, and takes the best.

    Args:
        world: with rewards.
        settings: see conf/planner/.
        value: what the state behind the last step is worth; see `PlanObjective`.
    """

    def __init__(self, world: World, settings: SearchSettings, value: Value | None = None) -> None:
        self.world, self.settings = world, settings
        self.objective = PlanObjective(
            world, settings.discount, settings.effort, settings.change, settings.end, settings.batch_size, value
        )

    @property
    def horizon(self) -> int:
        """H."""
        return self.settings.horizon

    @property
    def discount(self) -> float:
        """γ of a step."""
        return self.settings.discount

    @property
    def iterations(self) -> int:
        """How often all candidates are drawn."""
        return 1

    def start(self, guess: Tensor | None, batch: int) -> Distribution:
        """What is drawn from first; `guess` [B, H, …]: a sequence that was good one step before."""
        return uniform(self.world.action_space, batch, self.horizon, self.world.device)

    def improved(self, distribution: Distribution, scored: Scored) -> Distribution | None:
        """What is drawn from next. None: nothing was learned, and the best candidate is the plan."""
        return None

    @torch.no_grad()
    def plan(self, state: State, seed: int | Tensor, previous: Plan | None = None) -> Plan:
        """Plans for the B rows of `state`, a function of the state and the seed (one, or int64 [B]) where there is no
        time budget. `previous`: the plan of the step before, from which the search begins."""
        settings, device = self.settings, self.world.device
        state = self.world.warmed(state)
        deadline, noise = Deadline(settings.seconds), PlanNoise(row_seeds(seed, len(state), device))
        guess = None if previous is None else previous.later().actions
        known = [] if guess is None else [guess]
        distribution = self.start(guess, len(state))
        count = 0
        for iteration in range(self.iterations):
            if iteration > 0 and not deadline.fits():
                break
            drawn = settings.candidates - len(known)
            z = noise.normal(iteration, (drawn, self.horizon, self._numbers), settings.hold, settings.colour)
            candidates = torch.cat([sequence[:, None] for sequence in known] + [distribution.draw(z)], dim=1)
            scored = self._scored(state, candidates, noise, iteration, deadline)
            count += scored.worth.shape[1]
            distribution = self.improved(distribution, scored)
            known = [scored.candidates[:, 0]] + ([] if distribution is None else [distribution.mode])
        if distribution is not None and deadline.fits():
            # The mode was never imagined, and the best were once: where the world draws what follows, luck counts less.
            finalists = torch.cat([scored.candidates[:, :FINALISTS], distribution.mode[:, None]], dim=1)
            scored = self._scored(state, finalists, noise, self.iterations, deadline)
            count += finalists.shape[1]
        return Plan(
            scored.candidates[:, 0],
            scored.worth[:, 0],
            scored.rewards[:, 0],
            scored.candidates[:, :FINALISTS],
            count,
            deadline.elapsed,
        )

    @property
    def _numbers(self) -> int:
        space = self.world.action_space
        return 1 if isinstance(space, spaces.Discrete) else space.shape[0]

    def _scored(self, state: State, candidates: Tensor, noise: PlanNoise, iteration: int, deadline: Deadline) -> Scored:
        """Candidates [B, N, …] imagined in pieces of at most `batch_size` rows: as many as the time allows, and one
        piece at least."""
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
