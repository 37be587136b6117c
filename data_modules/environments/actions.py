"""Actions as the recordings have them, and as the environment takes them."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from data_modules.environments.observations import one_line
from genie.errors import UserError


class DiscreteActions:
    """Ids 0 … A-1, some or all of the environment's actions.

    chosen: their names in the environment's own words, in the order of the ids; names: what to call them (None: the
    environment's words in lower case). Raises UserError for names that there are not, or that are not as many.
    """

    def __init__(self, env: gym.Env, env_id: str, chosen: list[str] | None, names: list[str] | None):
        count, start = int(env.action_space.n), int(env.action_space.start)
        has_names = hasattr(env.unwrapped, "get_action_meanings")
        meanings = env.unwrapped.get_action_meanings() if has_names else [f"ACTION{i}" for i in range(count)]
        self.chosen = list(meanings if chosen is None else chosen)
        for name in self.chosen:
            if name not in meanings:
                raise UserError(f"no action '{name}' in {env_id}; it has {', '.join(meanings)}")
        _require_as_many(names, len(self.chosen), f"{len(self.chosen)} actions {self.chosen}")
        self.names = list(names or [name.lower() for name in self.chosen])
        self.space = spaces.Discrete(len(self.chosen))
        self._native = [start + meanings.index(name) for name in self.chosen]

    def native(self, action: int) -> int:
        """What the environment calls an action."""
        return self._native[int(action)]


class ContinuousActions:
    """A numbers in [-1, 1], stretched to the environment's limits; what is beyond them is cut off.

    names: of the numbers. Raises UserError for limits that are not finite.
    """

    def __init__(self, env: gym.Env, env_id: str, names: list[str] | None):
        low, high = (bound.astype(np.float64) for bound in (env.action_space.low, env.action_space.high))
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise UserError(
                f"environment '{env_id}' takes {one_line(env.action_space)}: actions in [-1, 1] cannot be stretched to "
                "limits that are not finite; wrap it in gymnasium.wrappers.RescaleAction or register it with limits"
            )
        self.middle, self.half, self.dtype = (low + high) / 2, (high - low) / 2, env.action_space.dtype
        _require_as_many(names, len(low), f"actions of {len(low)} numbers")
        self.chosen = self.names = list(names or [f"action_{number}" for number in range(len(low))])
        self.space = spaces.Box(-1, 1, low.shape, np.float32)

    def native(self, action: np.ndarray) -> np.ndarray:
        """float [A] in [-1, 1] → within the environment's limits, in its own type."""
        inside = np.clip(np.asarray(action, np.float64), -1, 1)
        return (self.middle + inside * self.half).astype(self.dtype)


def actions_of(
    env: gym.Env, env_id: str, chosen: list[str] | None, names: list[str] | None
) -> DiscreteActions | ContinuousActions:
    """The actions of an environment. Raises UserError where they are neither Discrete nor a vector."""
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return DiscreteActions(env, env_id, chosen, names)
    if not (isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)):
        raise UserError(
            f"environment '{env_id}' has actions {one_line(space)}: only Discrete and Box of one dimension are known"
        )
    if chosen is not None:
        raise UserError(f"data.recorder.actions={chosen} names single actions; those of {env_id} are {one_line(space)}")
    return ContinuousActions(env, env_id, names)


def _require_as_many(names: list[str] | None, count: int, what: str) -> None:
    if names is not None and len(names) != count:
        raise UserError(f"{what} but {len(names)} action names {names}")
