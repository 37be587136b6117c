"""Values that an environment returns, read and checked: rewards, ends, states, its frame rate.

`place` begins error messages: "environment 'X' at step 3". All functions raise UserError for invalid values.
"""

import math
from typing import Any, cast

import gymnasium as gym
import numpy as np
from ale_py.env import AtariEnv

from data_modules.formats.episode_header import FASTEST, LARGEST_REWARD, LARGEST_STATE
from genie.common.errors import UserError

CONSOLE_RATE = 60.0  # frames a second that the Atari draws
UNSAID_RATE = 30.0  # of environments without a rate


def to_array(given: Any) -> np.ndarray:
    """An array of an array, a torch tensor on any device, an image of Pillow, or nested lists; may share their memory.
    Raises TypeError or ValueError for anything else."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if "bfloat16" in str(given.dtype) else given
    elif hasattr(given, "getbands"):  # the ids of a palette are no colours
        given = given if given.mode in ("1", "L", "RGB", "RGBA") or given.mode[0] in "IF" else given.convert("RGB")
    return np.asarray(given)


def one_value(given: Any, name: str, place: str) -> float:
    """The value of a number, a bool, or an array of one of them."""
    try:
        array = to_array(given)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty(0, object)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise UserError(f"{place}: {name} is {shown(given)}, which is not one number")
    return float(array.reshape(()))


def reward_of(given: Any, place: str) -> float:
    """A finite reward of at most ±`LARGEST_REWARD`."""
    value = one_value(given, "the reward", place)
    if not abs(value) <= LARGEST_REWARD:
        most = f"a recording takes finite numbers of at most {LARGEST_REWARD:g}"
        raise UserError(f"{place}: the reward is {value:g}; {most}")
    return value


def flag_of(given: Any, name: str, place: str) -> bool:
    """The flag `name`: "terminated" or "truncated"."""
    value = one_value(given, name, place)
    if value not in (0, 1):
        raise UserError(f"{place}: {name} is {value:g}, which is neither true nor false")
    return bool(value)


def state_of(parts: list[Any], size: int, place: str) -> np.ndarray:
    """float32 [size], a copy: the concatenated parts of a state, all finite."""
    try:
        state = np.concatenate([to_array(part).astype(np.float64).reshape(-1) for part in parts])
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{place}: the state is {shown(parts[0] if len(parts) == 1 else parts)}, no vector") from None
    if len(state) != size:
        raise UserError(f"{place}: the state has {len(state)} numbers, not the {size} of its observation_space")
    wrong = np.flatnonzero(~(np.abs(state) <= LARGEST_STATE))
    if len(wrong):
        raise UserError(
            f"{place}: number {wrong[0]} of the state is {state[wrong[0]]:g}; a recording takes finite numbers of at "
            f"most {LARGEST_STATE:g}: mend it, or wrap the environment in gymnasium.wrappers.TransformObservation"
        )
    return state.astype(np.float32)


def frame_rate(env: gym.Env, env_id: str, given: Any) -> float:
    """Decisions, and so observations, a second; `given`: data.recorder.fps, None for the environment's own rate."""
    if given is not None:
        return _rate(given, f"data.recorder.fps={given} must be a number above 0 and at most {FASTEST:g}")
    if hasattr(env.unwrapped, "ale"):
        skip = cast(AtariEnv, env.unwrapped)._frameskip  # a number, or the ends of a range
        return CONSOLE_RATE / (skip if isinstance(skip, int) else (skip[0] + skip[1] - 1) / 2)
    stated = (env.metadata or {}).get("render_fps", UNSAID_RATE)
    return _rate(stated, f"environment '{env_id}' says render_fps={shown(stated)}, no rate: give data.recorder.fps=10")


def _rate(value: Any, otherwise: str) -> float:
    try:
        rate = one_value(value, "fps", "")
    except UserError:
        rate = math.nan
    if isinstance(value, bool) or not 0 < rate <= FASTEST:
        raise UserError(otherwise)
    return rate


def shown(given: Any) -> str:
    """A value on one line, shortened; of an array its type and shape."""
    if getattr(given, "shape", ()):
        return f"{type(given).__name__} {given.dtype} {list(given.shape)}"
    text = " ".join(repr(given).split())
    return text if len(text) <= 60 else f"{text[:57]}… ({type(given).__name__})"
