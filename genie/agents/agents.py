"""Agents that play environments: random, by a trained policy, by planning in a world.

An agent plays one episode, or several at once: then observations, actions and seeds have a leading axis `B`, and each
episode is played as it would be alone.

Dimension letters: `B` states or episodes, `A` numbers of an action.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.random import FrameNoise, Stream, derive, fold_in, row_seeds
from genie.models.actor_critic import action_noise
from genie.planning.optimizers import Planner
from genie.planning.search import Plan
from genie.runs.loading import TrainedModel, load_trained_policy
from genie.world.protocol import State, World

Choose = Callable[[State, Tensor], Tensor]  # state of B worlds, seeds int64 [B] → actions [B] or [B, A]
DECISION = 0  # frame of the noise: the seed tells one decision from another


def exploring(choose: Choose, space: spaces.Discrete | spaces.Box, share: float) -> Choose:
    """`choose`, with a uniformly drawn action of `space` in the `share` of decisions, as a function of the seed."""

    def explore(state: State, seed: int | Tensor = 0) -> Tensor:
        chosen = choose(state, seed)
        seeds = derive(row_seeds(seed, len(state), chosen.device), Stream.EXPLORATION)
        noise = FrameNoise(seeds, torch.zeros_like(seeds))
        size = 1 if chosen.ndim == 1 else chosen.shape[1]
        drawn = noise.uniform(0, size)
        other = (drawn[:, 0] * space.n).long() if isinstance(space, spaces.Discrete) else 2 * drawn - 1
        away = noise.uniform(1, 1) < share  # [B, 1]
        return torch.where(away[:, 0] if chosen.ndim == 1 else away, other.to(chosen), chosen)

    return explore


class Policy:
    """The networks of a `trained` policy in its world. `greedy`: the likeliest action, else drawn as in training."""

    def __init__(self, trained: TrainedModel, world: World, greedy: bool = False) -> None:
        self.trained, self.world, self.greedy = trained, world, greedy
        trained.model.eval().requires_grad_(False).to(world.device)

    @property
    def gives_environment_actions(self) -> bool:
        """Whether actions are those of the environment, not latent ones of the world."""
        return self.world.takes_environment_actions or self.trained.config["policy"].get("actions") == "environment"

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """Of what it chooses: the world's, or the environment's."""
        actor = self.trained.model["actor"]
        if actor.is_discrete:
            return spaces.Discrete(actor.head.out_features)
        return spaces.Box(-1, 1, (actor.head.out_features // 2,))

    @torch.no_grad()
    def choose(self, state: State, seed: int | Tensor = 0) -> Tensor:
        """Actions int64 [B] or float [B, A] for a state of B worlds.

        `seed` decides what is drawn: one number, from which each row has its own, or int64 [B].
        """
        distribution = self.trained.model["actor"](self.world.features(state))
        if self.greedy:
            return distribution.mode()
        seeds = row_seeds(seed, len(state), self.world.device)
        return distribution.sample(action_noise(seeds, DECISION, distribution.noise_size))

    @torch.no_grad()
    def value(self, state: State) -> Tensor | None:
        """The discounted return [B] to come; None for a policy without a critic (behavior cloning)."""
        if "critic" not in self.trained.model:
            return None
        return self.trained.model["critic"].value(self.world.features(state))


def load_policy(path: str | Path, world: World, greedy: bool = False) -> Policy:
    """The policy of a run folder (`outputs/<name>`), of its own folder, of a checkpoint or an exported file.

    Raises UserError where there is none, and where it was trained in another world than `world`.
    """
    return Policy(load_trained_policy(path, world.fingerprint()), world, greedy)


class ActionTranslation(Protocol):
    """Translation between latent actions and those of the environment, int64 [B] each."""

    def to_true(self, latent: Tensor) -> Tensor: ...

    def to_latent(self, true: Tensor) -> Tensor: ...


class Agent(Protocol):
    """Sees observations, uint8 [H, W, 3] or float32 [n]; gives actions, a whole number or float32 [A] in [-1, 1].

    Attributes:
        plan: the plan that the last action is of; None for an agent that makes none.
    """

    plan: Plan | None

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        """Begins an episode, or several where `seed` is a list."""
        ...

    def act(self) -> int | np.ndarray:
        """The next action."""
        ...

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        """Takes the action that was done and the observation that it led to."""
        ...

    def keep(self, rows: list[int]) -> None:
        """Continues, of several episodes, only those of these rows."""
        ...


class RowSelectable:
    """Base of agents: the axis B is there where several episodes are played."""

    plan: Plan | None = None
    alone = True

    def _begin(self, seed: int | list[int]) -> list[int]:
        self.alone = not isinstance(seed, list)
        return [seed] if self.alone else seed

    def _given(self, actions: np.ndarray) -> int | np.ndarray:
        """Actions [B] or [B, A] as `act` returns them."""
        if not self.alone:
            return actions
        return int(actions[0]) if actions.ndim == 1 else actions[0]

    def _rows(self, values: int | np.ndarray) -> np.ndarray:
        return np.asarray(values)[None] if self.alone else np.asarray(values)


class RandomAgent(RowSelectable):
    """Uniformly drawn actions: the baseline of all other agents."""

    def __init__(self, action_space: spaces.Discrete | spaces.Box) -> None:
        self.action_space = action_space
        self.draws: list[np.random.Generator] = []

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        self.draws = [np.random.default_rng(fold_in(seed, Stream.RANDOM_AGENT)) for seed in self._begin(seed)]

    def act(self) -> int | np.ndarray:
        if isinstance(space := self.action_space, spaces.Discrete):
            return self._given(np.stack([draw.integers(space.n) for draw in self.draws]))
        return self._given(np.stack([draw.uniform(-1, 1, space.shape).astype(np.float32) for draw in self.draws]))

    def observe(self, action: int | np.ndarray, observation: np.ndarray) -> None:
        pass

    def keep(self, rows: list[int]) -> None:
        self.draws = [self.draws[row] for row in rows]


class WorldAgent(RowSelectable):
    """Keeps the state that a world infers from the episodes so far; `choose` decides from that state.

    Args:
        choose: a function of the state and the seeds alone, such as a policy's.
        action_map: for a world of latent actions; None: its actions are those of the environment.
    """

    def __init__(self, world: World, choose: Choose, action_map: ActionTranslation | None = None) -> None:
        self.world, self.choose, self.action_map = world, choose, action_map
        self.state: State | None = None
        self.seeds, self.decisions = torch.zeros(0, dtype=torch.int64), 0

    def reset(self, observation: np.ndarray, seed: int | list[int]) -> None:
        self.seeds = torch.tensor(self._begin(seed), dtype=torch.int64).to(self.world.device)
        self.decisions = 0
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
    """Plans in each step, or as often as the planner does, starting from the previous plan."""

    def __init__(self, world: World, planner: Planner, action_map: ActionTranslation | None = None) -> None:
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
