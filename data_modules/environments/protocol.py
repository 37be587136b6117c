"""Interface of environments for recordings, replays and agents.

Dimension letters: `H W` pixels of a frame, `n` numbers of a state, `A` actions or their numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

import numpy as np
from gymnasium import spaces

from genie.common.errors import RunError, UserError


class Environment(Protocol):
    """One environment. The same seed and actions lead to the same observations.

    `reset` and `step` return arrays that the environment does not change later. They raise UserError for values that no
    recording takes, RunError where the environment raises an exception; both name the step.

    Attributes:
        id: Gymnasium's.
        observes: what `reset` and `step` give: "frames", uint8 [H, W, 3], cropped and resized as they are recorded, or
            "states", float32 [n], in the environment's own units.
        action_space: Discrete(A), or Box of A numbers in [-1, 1], float32, scaled to the environment's own limits.
        action_meanings: a name for each action, or for each of the numbers of one.
        object_names: of objects with known positions; [] where there are none.
        fps: decisions, and so observations, a second.
    """

    id: str
    observes: Literal["frames", "states"]
    action_space: spaces.Discrete | spaces.Box
    action_meanings: list[str]
    object_names: list[str]
    fps: float

    @property
    def can_branch(self) -> bool:
        """Whether it can return to an earlier moment of an episode."""
        ...

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(H, W, 3) or (n,)."""
        ...

    def reset(self, seed: int) -> np.ndarray:
        """The first observation of an episode, which the seed determines."""
        ...

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """(observation, reward, terminal, truncated) after one decision."""
        ...

    def screen(self) -> np.ndarray:
        """uint8 [H', W', 3]: the current screen, for videos. Raises UserError where nothing is shown."""
        ...

    def close(self) -> None:
        """Releases the environment's resources."""
        ...


@contextmanager
def in_episode(name: str) -> Iterator[None]:
    """Prefixes errors of an environment inside with `name`, of the episode."""
    try:
        yield
    except (UserError, RunError) as error:
        raise type(error)(f"{name}: {error}") from error.__cause__
