"""What planners, policies, rewards and evaluation ask of a world, whatever is inside it.

A world observes what an environment shows (frames, or the numbers of its state) and imagines what follows on actions.

Dimension letters: `B` worlds, `T` observations, `O` the shape of one, `A` actions or their numbers, `F` features.
An observation is a frame [C, H, W] in [0, 1], or a state [n] in the units of the environment. An action is a whole
number in 0 … A-1, or A numbers in [-1, 1], which the environment stretches to its own limits.
"""

from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from gymnasium import spaces
from torch import Tensor

from genie.models.heads import Judged


class State(Protocol):
    """What B worlds remember: a value, of which forks share nothing that changes."""

    def __len__(self) -> int:
        """B."""
        ...

    def select(self, index: Tensor | list[int]) -> Self:
        """The rows `index` (int [B']), which may repeat: how a state is forked."""
        ...

    def reseeded(self, seed: int | Tensor) -> Self:
        """The same worlds with another future: one seed for all (each row draws its own), or int64 [B]."""
        ...


@dataclass(frozen=True)
class Step:
    """What a step led to.

    Attributes:
        reward: float [B], in the units of the environment; 0 in a world that knows none.
        continues: float [B] in [0, 1], the probability that the episode goes on; 1 in a world that knows no ends.
        observation: [B, *O], what the world shows; None where it was not asked for.
    """

    reward: Tensor
    continues: Tensor
    observation: Tensor | None

    @property
    def terminal(self) -> Tensor:
        """bool [B]: the episode is more likely over than not."""
        return self.continues < 0.5


S = TypeVar("S", bound=State)


class World(Protocol[S]):
    """A trained world. It computes no gradients, and no two calls share anything: a state holds all that is remembered.

    Attributes:
        action_space: Discrete(A), or Box of A numbers in [-1, 1]: what `step` takes.
        observation_shape: O.
        feature_shape: F: (n,) or a map (C, h, w).
        num_context: observations before the next one that can matter to it; more of them change nothing.
        fps: steps per second.
        config: the configuration that it was trained with; its data are `config["data"]`.
        knows_rewards: whether `step` predicts rewards and ends.
        knows_ends: whether it predicts ends.
        reward_kind: what its rewards were learned from (`RewardModel`); None in a world that knows none.
        takes_environment_actions: whether the actions are those of the environment, and not latent ones.
    """

    action_space: spaces.Discrete | spaces.Box
    observation_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    num_context: int
    fps: float
    config: dict[str, Any]
    knows_rewards: bool
    knows_ends: bool
    reward_kind: str | None
    takes_environment_actions: bool

    @property
    def device(self) -> torch.device:
        """Where it is."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Moves it there."""
        ...

    def fingerprint(self) -> str:
        """Of all its weights: what is trained on features of a world fits that world alone."""
        ...

    def reset(self, observations: Tensor, actions: Tensor | None = None, seed: int | Tensor = 0) -> S:
        """The state after `observations` [B, T, *O], T ≥ 1, and the `actions` [B, T-1] or [B, T-1, A] between them.

        `seed` decides all that will be drawn: one number, from which each row has its own, or int64 [B].
        """
        ...

    def observe(self, state: S, observation: Tensor, actions: Tensor) -> S:
        """The state after a true observation [B, *O] that `actions` [B] or [B, A] led to. ValueError for a state in
        which something was imagined: observe from the one that was left to imagine."""
        ...

    def warmed(self, state: S) -> S:
        """The same state before many forks of it are stepped: what each of them would compute again is done once. In a
        world that has nothing such it is the state as it was given."""
        ...

    def step(self, state: S, actions: Tensor, decode: bool = True) -> tuple[S, Step]:
        """Imagines one step under `actions` [B] or [B, A]: a function of the state and the actions alone.

        `decode`: whether the observation is wanted. It costs time, and planning does without.
        """
        ...

    def decode(self, state: S) -> Tensor:
        """The newest observation [B, *O] of a state, as the world sees it."""
        ...

    def features(self, state: S) -> Tensor:
        """What rewards and policies read of a state: float [B, *F]."""
        ...

    def trace(self, observations: Tensor, actions: Tensor | None = None) -> Tensor:
        """The features float [B, T, *F] of all states on the way through true `observations` [B, T, *O] with the
        `actions` between them: row t is what `features` gives after the first t + 1."""
        ...

    def judge(self, before: S, actions: Tensor, after: S) -> Judged:
        """What its rewards and ends say of a step, seen or imagined, from `before` under `actions` to `after`, B each.
        Only of a world that knows rewards or ends."""
        ...
