"""A trained simulator (`stage=simulator`) as a world: what both kinds have, and how they are loaded.

Dimension letters: `B` worlds, `T` observations, `O` the shape of one, `A` actions or their numbers, `F` features.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from genie.common.errors import UserError
from genie.common.random import row_seeds
from genie.models.building import simulator_kind
from genie.runs.loading import TrainedModel, fingerprint, load_model, stage_file
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.world.protocol import Step


@dataclass(frozen=True)
class SimulatorState:
    """What B simulated worlds remember: a value.

    Attributes:
        values: float [B, …], all that the simulator hands on from one step to the next.
        seeds, ages: int64 [B], the seed of each world and the steps that were imagined in it: all its randomness.
        imagined: whether the newest step was imagined, and not seen.
    """

    values: Tensor
    seeds: Tensor
    ages: Tensor
    imagined: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def select(self, index: Tensor | list[int]) -> Self:
        """The rows `index` (int [B']), which may repeat: how a state is forked."""
        at = torch.as_tensor(index, dtype=torch.int64, device=self.values.device)
        return replace(self, values=self.values[at], seeds=self.seeds[at], ages=self.ages[at])

    def reseeded(self, seed: int | Tensor) -> Self:
        """The same worlds with another future: one seed for all (each row draws its own), or int64 [B]."""
        return replace(self, seeds=row_seeds(seed, len(self), self.values.device))


class SimulatorWorld:
    """The common part of `RssmWorld` and `DeltaWorld`; both satisfy `genie.world.protocol.World`.

    Args:
        trained: a simulator, with its configuration and its frames per second.
    """

    num_context: int
    observation_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    takes_environment_actions = True

    def __init__(self, trained: TrainedModel) -> None:
        self.model, self.config, self.fps = trained.model.eval(), trained.config, float(trained.fps)
        self.settings: dict[str, Any] = self.config["simulator"]
        learned = self.settings["objective"]  # weights of the terms; 0: not learned
        self.knows_rewards, self.knows_ends = learned["reward"] > 0, learned["continues"] > 0
        self.reward_kind = "state" if self.knows_rewards else None
        actions = self.model.actions
        self.action_space: spaces.Discrete | spaces.Box
        if actions.num_actions is not None:
            self.action_space = spaces.Discrete(actions.num_actions)
        else:
            self.action_space = spaces.Box(-1.0, 1.0, (actions.action_size,), np.float32)

    @staticmethod
    def load(run: str | Path) -> "SimulatorWorld":
        """The world of the simulator of a run folder (`outputs/<name>`), rebuilt from its checkpoint alone.

        Raises UserError where there is none, or where it is damaged.
        """
        from genie.world.delta_world import DeltaWorld  # both are made from this module's class
        from genie.world.rssm_world import RssmWorld

        path = stage_file(Path(run), "simulator")
        if not is_checkpoint(path):
            raise UserError(
                f"{run} holds no trained simulator (no {path}): run `python -m genie.train stage=simulator`"
            )
        trained = load_model(path)
        return {"rssm": RssmWorld, "delta": DeltaWorld}[simulator_kind(trained.config)](trained)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Moves the model."""
        self.model.to(device)
        return self

    def fingerprint(self) -> str:
        """Of all weights."""
        return fingerprint(self.model)

    def vectors(self, actions: Tensor) -> Tensor:
        """Action vectors [..., A] of actions as `step` takes them; UserError for those that this world has not."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            if actions.numel() and not 0 <= (worst := _furthest(actions, space.n)) < space.n:
                raise UserError(f"action {worst} is not one of this world's {space.n} (0 … {space.n - 1})")
        elif actions.shape[-1:] != space.shape or not actions.is_floating_point():
            raise UserError(f"this world takes actions of {space.shape[0]} numbers in [-1, 1], not {actions.dtype} of "
                            f"shape {list(actions.shape)}")  # fmt: skip
        return self.model.actions(actions)

    def unknown_actions(self, observations: Tensor) -> Tensor:
        """The actions [B, T-1] or [B, T-1, A] of a prompt without any: the first one, or zeros."""
        lead = (observations.shape[0], observations.shape[1] - 1)
        if isinstance(self.action_space, spaces.Discrete):
            return torch.zeros(lead, dtype=torch.int64, device=observations.device)
        return torch.zeros(*lead, *self.action_space.shape, device=observations.device)

    def begun(self, values: Tensor, seed: int | Tensor) -> SimulatorState:
        """The state of `values` [B, …] in which nothing was imagined yet."""
        seeds = row_seeds(seed, len(values), values.device)
        return SimulatorState(values, seeds, torch.zeros_like(seeds))

    def warmed(self, state: SimulatorState) -> SimulatorState:
        """As it is: its values are all that a step takes."""
        return state

    def outcomes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Reward and continuation [B] read from [B, …]; 0 and 1 where they were not learned."""
        reward, goes_on = self.model.outcomes.predict(features)
        reward = reward if self.knows_rewards else torch.zeros_like(reward)
        return reward, goes_on if self.knows_ends else torch.ones_like(goes_on)

    @staticmethod
    def require_seen(state: SimulatorState) -> None:
        """ValueError for a state in which something was imagined."""
        if state.imagined:
            raise ValueError("something was imagined in this state: observe from the state before it")


def _furthest(actions: Tensor, count: int) -> int:
    """The action that is the furthest from being one of `count`."""
    least, most = int(actions.min()), int(actions.max())
    return least if least < 0 else most


@dataclass(frozen=True)
class SimulatorStep(Step):
    """A step of a simulator.

    Attributes:
        disagreement: float [B], the standard deviation of what the members of an ensemble expect of the next state, in
            standard deviations of the data; None where there is no ensemble.
    """

    disagreement: Tensor | None = None
