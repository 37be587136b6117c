"""Protocol of worlds, as planners, policies, rewards and evaluation use them.

A world observes what an environment shows (frames, or the numbers of its state) and imagines the results of actions.

Dimension letters: `B` worlds, `T` observations, `O` the shape of one, `A` actions or their numbers, `F` features.
An observation is a frame [C, H, W] in [0, 1], or a state [n] in the units of the environment. An action is a whole
number in 0 … A-1, or A numbers in [-1, 1], which the environment scales to its own limits.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

import torch
from gymnasium import spaces
from torch import Tensor

from genie.models.heads import Judged


class State(Protocol):
    """The immutable state of B worlds."""

    def __len__(self) -> int:
        """B."""
        ...

    def select(self, index: Tensor | list[int]) -> Self:
        """The rows `index` (int [B']), which may repeat to fork a state."""
        ...

    def reseeded(self, seed: int | Tensor) -> Self:
        """The same worlds with another future: one seed for all (each row draws its own), or int64 [B]."""
        ...


@dataclass(frozen=True)
class Step:
    """Result of a step.

    Attributes:
        reward: float [B], in the units of the environment; 0 in a world without rewards.
        continues: float [B] in [0, 1], the probability that the episode continues; 1 in a world without ends.
        observation: [B, *O]; None where it was not requested.
        uncertainty: float [B], how unsure the world was: of Genie's the mean entropy of a token that was drawn (nats).
            None in a world that does not say.
    """

    reward: Tensor
    continues: Tensor
    observation: Tensor | None
    uncertainty: Tensor | None = field(default=None, kw_only=True)

    @property
    def terminal(self) -> Tensor:
        """bool [B]: the episode has more likely ended than not."""
        return self.continues < 0.5


S = TypeVar("S", bound=State)


class World(Protocol[S]):
    """A trained world. It computes no gradients, and calls are independent: all memory is in the state.

    Attributes:
        action_space: Discrete(A), or Box of A numbers in [-1, 1].
        observation_shape: O.
        feature_shape: F: (n,) or a map (C, h, w).
        num_context: number of past observations on which the next one can depend.
        fps: steps per second.
        config: the configuration of its training; its data are `config["data"]`.
        knows_rewards: whether `step` predicts rewards.
        knows_ends: whether it predicts ends.
        knows_uncertainty: whether `step` says how unsure it is.
        reward_kind: the kind of its `RewardModel`; None without rewards.
        takes_environment_actions: whether the actions are those of the environment instead of latent ones.
    """

    fps: float
    config: dict[str, Any]

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box: ...
    @property
    def observation_shape(self) -> tuple[int, ...]: ...
    @property
    def feature_shape(self) -> tuple[int, ...]: ...
    @property
    def num_context(self) -> int: ...
    @property
    def knows_rewards(self) -> bool: ...
    @property
    def knows_ends(self) -> bool: ...
    @property
    def knows_uncertainty(self) -> bool: ...
    @property
    def reward_kind(self) -> str | None: ...
    @property
    def takes_environment_actions(self) -> bool: ...

    @property
    def device(self) -> torch.device:
        """Of its parameters."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Moves the world in place and returns it."""
        ...

    def fingerprint(self) -> str:
        """Of all weights: models trained on features of a world fit that world alone."""
        ...

    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> S:
        """The state after `observations` [B, T, *O], T ≥ 1, and the `actions` [B, T-1] or [B, T-1, A] between them.
        `seed` decides all later draws: one number, from which each row derives its own, or int64 [B]."""
        ...

    def observe(self, state: S, observation: Tensor, actions: Tensor) -> S:
        """The state after a true observation [B, *O] that `actions` [B] or [B, A] led to; ValueError for a state with
        imagined steps."""
        ...

    def warmed(self, state: S) -> S:
        """The same state with the computations done that all its forks would repeat, if there are any."""
        ...

    def step(self, state: S, actions: Tensor, decode: bool = True) -> tuple[S, Step]:
        """Imagines one step under `actions` [B] or [B, A], as a function of state and actions alone; without `decode`
        no observation is computed."""
        ...

    def decode(self, state: S) -> Tensor:
        """The newest observation [B, *O] of a state, as the world reconstructs it."""
        ...

    def features(self, state: S) -> Tensor:
        """Input of reward models and policies: float [B, *F]."""
        ...

    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """Features float [B, T, *F] of all states along true `observations` [B, T, *O] with the `actions` between them:
        row t is `features` after the first t + 1."""
        ...

    def judge(self, before: S, actions: Tensor, after: S) -> Judged:
        """Predicted reward and end of a step, seen or imagined, from `before` under `actions` to `after`, B each. Only
        in a world with rewards or ends."""
        ...
