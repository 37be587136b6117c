"""Who plays: one episode, or several at once.

For several, observations, actions and seeds have a leading axis B; each episode is played as it would be alone.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.random import Stream, derive, fold_in
from genie.planning.optimizers import Planner
from genie.planning.search import Plan
from genie.world.protocol import State, World

Choose = Callable[[State, Tensor], Tensor]  # state of B worlds, seeds int64 [B] → actions [B] or [B, A]


class ActionMap(Protocol):
    """Latent actions to those of the environment, and back: int64 [B] each."""

    def to_true(self, latent: Tensor) -> Tensor: ...

    def to_latent(self, true: Tensor) -> Tensor: ...


class Agent(Protocol):
    """Sees observations, uint8 [H, W, 3] or float32 [n], and gives actions, a whole number or float32 [A] in [-1, 1].

    Attributes:
        plan: the plan that the last action is of; None for an agent that makes none.
    """

    plan: Plan | None

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        """Episodes begin: one, or several where `seed` is a list."""
        ...

    def act(self) -> int | np.ndarray:
        """What to do now."""
        ...

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        """What was done and what it led to."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Of several episodes only those of these rows go on."""
        ...


class Rows:
    """What agents share: whether one episode is played, or several."""

    plan: Plan | None = None
    alone = True

    def _begin(self, seed: int | list[int]) -> list[int]:
        self.alone = not isinstance(seed, list)
        return [seed] if self.alone else seed

    def _given(self, actions: np.ndarray) -> int | np.ndarray:
        """What `act` returns of actions [B] or [B, A]."""
        if not self.alone:
            return actions
        return int(actions[0]) if actions.ndim == 1 else actions[0]

    def _rows(self, values: int | np.ndarray) -> np.ndarray:
        """The same with the axis B."""
        return np.asarray(values)[None] if self.alone else np.asarray(values)


class RandomAgent(Rows):
    """Any action alike, in every step: what each other agent is compared with."""

    def __init__(self, action_space: spaces.Discrete | spaces.Box) -> None:
        self.action_space = action_space
        self.draws: list[np.random.Generator] = []

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        self.draws = [np.random.default_rng(fold_in(seed, Stream.RANDOM_AGENT)) for seed in self._begin(seed)]

    def act(self) -> int | np.ndarray:
        return self._given(np.stack([self._draw(draw) for draw in self.draws]))

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        pass

    def keep(self, rows: list[int]) -> None:
        self.draws = [self.draws[row] for row in rows]

    def _draw(self, draw: np.random.Generator) -> np.ndarray:
        if isinstance(self.action_space, spaces.Discrete):
            return draw.integers(self.action_space.n)
        return draw.uniform(-1, 1, self.action_space.shape).astype(np.float32)


class WorldAgent(Rows):
    """Keeps what a world makes of the episodes so far, and lets `choose` decide from that.

    Args:
        choose: a policy's, for example: a function of the state and the seeds alone.
        action_map: for a world of latent actions; None: its actions are those of the environment.
    """

    def __init__(self, world: World, choose: Choose, action_map: ActionMap | None = None) -> None:
        self.world, self.choose, self.action_map = world, choose, action_map
        self.state: State | None = None
        self.seeds, self.decisions = torch.zeros(0, dtype=torch.int64), 0

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        self.seeds, self.decisions = torch.tensor(self._begin(seed), dtype=torch.int64), 0
        self.seeds = self.seeds.to(self.world.device)
        self.state = self.world.reset(self._seen(observation)[:, None], seed=self.seeds)

    @torch.no_grad()
    def act(self) -> int | np.ndarray:
        actions = self.choose(self.state, derive(self.seeds, self.decisions))
        self.decisions += 1
        if self.action_map is not None:
            actions = self.action_map.to_true(actions)
        return self._given(actions.cpu().numpy())

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        actions = torch.from_numpy(self._rows(action)).to(self.world.device)
        if self.action_map is not None:
            actions = self.action_map.to_latent(actions)
        self.state = self.world.observe(self.state, self._seen(observation), actions)

    def keep(self, rows: list[int]) -> None:
        self.state, self.seeds = self.state.select(rows), self.seeds[rows]

    def _seen(self, observation: np.ndarray) -> Tensor:
        """[B, *O] as the world takes it."""
        return to_observations(self._rows(observation)).to(self.world.device)


class PlanningAgent(WorldAgent):
    """Plans anew in each step, or as often as the planner does, from the plan before."""

    def __init__(self, world: World, planner: Planner, action_map: ActionMap | None = None) -> None:
        super().__init__(world, self._choose, action_map)
        self.planner = planner

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        self.plan = None
        super().reset(observation, seed)

    def keep(self, rows: list[int]) -> None:
        super().keep(rows)
        self.plan = self.plan and self.plan.select(rows)

    def _choose(self, state: State, seeds: Tensor) -> Tensor:
        self.plan = self.planner.plan(state, seeds, self.plan)
        return self.plan.first


def to_observations(seen: np.ndarray) -> Tensor:
    """Frames uint8 [..., H, W, 3] → [..., 3, H, W] in [0, 1]; numbers float32 stay."""
    tensor = torch.from_numpy(np.ascontiguousarray(seen))
    return tensor.movedim(-1, -3).float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
