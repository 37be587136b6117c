"""Actions of recordings, and their translation into those of the environment."""

import enum
import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from data_modules.action_ids import repeated
from data_modules.environments.making import describe_error
from data_modules.environments.observations import one_line
from data_modules.environments.values import shown
from genie.common.errors import UserError

MOST_ACTIONS = 2**16  # each gets a name
NAMES_SHOWN = 20


class DiscreteActions:
    """Ids 0 … A-1 of some or all of the environment's actions.

    chosen: their names in the environment, in the order of the ids; names: of the recording (None: the environment's in
    lower case). Raises UserError for unknown names, and for a wrong number of names.
    """

    def __init__(self, env: gym.Env, env_id: str, chosen: list[str] | None, names: list[str] | None):
        space = env.action_space
        assert isinstance(space, spaces.Discrete)
        count, start = int(space.n), int(space.start)
        if count > MOST_ACTIONS:
            raise UserError(f"environment '{env_id}' has {count} actions; at most {MOST_ACTIONS} can be told apart")
        meanings = action_names_of(env, env_id, count, start)
        lists_names = isinstance(chosen, list | tuple) and chosen and repeated(map(str, chosen)) is None
        if chosen is not None and not lists_names:
            raise UserError(f"data.recorder.actions={shown(chosen)} must be a list of different names of actions")
        self.chosen = list(meanings if chosen is None else chosen)
        for name in self.chosen:
            if name not in meanings:
                raise UserError(f"no action '{name}' in {env_id}; it has {', '.join(meanings)}")
        _require_as_many(names, len(self.chosen), f"{len(self.chosen)} actions {self.chosen}")
        self.names = list(names or [name.lower() for name in self.chosen])
        self.space = spaces.Discrete(len(self.chosen))
        self._native = [start + meanings.index(name) for name in self.chosen]

    def native(self, action: int | np.ndarray) -> int:
        """The environment's number of an action."""
        return self._native[int(action)]


def action_names_of(env: gym.Env, env_id: str, count: int, start: int) -> list[str]:
    """A name for each of `count` actions, which the environment numbers `start`, `start` + 1, …; no two are alike.

    They come from `get_action_meanings`: names or members of an enumeration in the order of the actions, or a
    dictionary with the actions as keys or values. A missing name is ACTION<number>, counted from 0, and a repeated one
    gets its number; a note reports either.
    """
    given, why = getattr(env.unwrapped, "get_action_meanings", None), None
    if given is None:
        return [f"ACTION{number}" for number in range(count)]
    try:
        names = _names_by_number(given() if callable(given) and not isinstance(given, type) else given, count, start)
    except (Exception, SystemExit) as error:
        names, why = {}, f"its get_action_meanings() cannot be read, {describe_error(error)}"
    unique: dict[str, None] = {}
    for number in range(count):
        name = names.get(number) or f"ACTION{number}"
        while name in unique:
            name = f"{name}_{number}"
        unique[name] = None
    if why is None and len(names) != count:
        why = f"its get_action_meanings() names {len(names)}"
    elif why is None and list(unique) != [names.get(number) for number in range(count)]:
        why = "its get_action_meanings() gives several of them one name"
    if why is not None:
        called = ", ".join(list(unique)[:NAMES_SHOWN]) + (", …" if count > NAMES_SHOWN else "")
        _note_once(f"note: environment '{env_id}' has {count} actions, {why}: they are called {called}")
    return list(unique)


def _names_by_number(given: Any, count: int, start: int) -> dict[int, str]:
    """The names by the numbers 0, 1, … of the actions. Raises ValueError for anything but names."""
    if isinstance(given, Mapping):
        pairs = list(given.items())
        if pairs and all(_is_whole(value) and not _is_whole(key) for key, value in pairs):
            pairs = [(value, key) for key, value in pairs]
        first = start if all(start <= int(key) < start + count for key, _ in pairs) else 0
        pairs = [(int(key) - first, name) for key, name in pairs]
    elif isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(f"{shown(given)} is no list of names")
    else:
        pairs = list(enumerate(given))
    return {number: text for number, name in pairs if (text := _name(name))}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | enum.Enum)


def _name(given: Any) -> str:
    if isinstance(given, enum.Enum):
        return given.name
    return given.decode() if isinstance(given, bytes) else "" if given is None else str(given)


@functools.cache
def _note_once(text: str) -> None:
    """Prints a note once, however many environments are opened."""
    print(text, file=sys.stderr, flush=True)


class ContinuousActions:
    """A numbers in [-1, 1], clipped and scaled to the environment's limits. names: of the numbers. Raises UserError for
    limits that are not finite."""

    def __init__(self, env: gym.Env, env_id: str, names: list[str] | None):
        space = env.action_space
        assert isinstance(space, spaces.Box)
        low, high = (bound.astype(np.float64) for bound in (space.low, space.high))
        if not (np.isfinite(low) & np.isfinite(high)).all():
            raise UserError(
                f"environment '{env_id}' takes {one_line(space)}: actions in [-1, 1] cannot be stretched to "
                "limits that are not finite; wrap it in gymnasium.wrappers.RescaleAction or register it with limits"
            )
        if low.size == 0:
            raise UserError(f"environment '{env_id}' has actions {one_line(space)}, of no numbers")
        self.middle, self.half, self.dtype = (low + high) / 2, (high - low) / 2, space.dtype
        _require_as_many(names, len(low), f"actions of {len(low)} numbers")
        self.chosen = self.names = list(names or [f"action_{number}" for number in range(len(low))])
        self.space = spaces.Box(-1, 1, low.shape, np.float32)

    def native(self, action: int | np.ndarray) -> np.ndarray:
        """float [A] in [-1, 1] → values within the environment's limits, in its own dtype."""
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
            f"environment '{env_id}' has actions {one_line(space)}: only Discrete and Box of one dimension are known; "
            "wrap it in a gymnasium.ActionWrapper that has one of these"
        )
    if chosen is not None:
        raise UserError(f"data.recorder.actions={chosen} names single actions; those of {env_id} are {one_line(space)}")
    return ContinuousActions(env, env_id, names)


def _require_as_many(names: list[str] | None, count: int, what: str) -> None:
    if names is not None and len(names) != count:
        raise UserError(f"{what} but {len(names)} action names {names}")
    if names is not None and repeated(map(str, names)) is not None:
        raise UserError(f"data.recorder.action_names={shown(names)}: two actions have one name")
