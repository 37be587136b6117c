"""Construction of Gymnasium environments from ids, with the packages that register them."""

import difflib
import importlib
import logging
import os
from contextlib import suppress
from importlib.metadata import entry_points

import ale_py
import gymnasium as gym

from data_modules.environments.observations import ADVICE, find_opengl, is_headless, is_picture
from genie.common.errors import UserError, reason

EXTRAS = {
    "MinAtar": "minatar",
    "dm_control": "dm-control",
    "Procgen": "procgen",
}  # families of environments -> this project's extra for them
DRAWN = ("rgb_array", "rgb_array_list")  # Gymnasium's names of render modes with arrays, the better one first


def make(env_id: str, kwargs: dict) -> gym.Env:
    """The environment, with a render mode if it has one. Raises UserError where there is none or it does not start."""
    env = _make(env_id, kwargs)
    for name in ("action_space", "observation_space"):
        if not isinstance(getattr(env, name, None), gym.Space):
            raise UserError(f"environment '{env_id}' has no {name}: its class has to set one of gymnasium.spaces")
    modes = (env.metadata or {}).get("render_modes") or ()
    mode = next((mode for mode in DRAWN if mode in modes), None)
    if is_picture(env.observation_space) or mode is None:
        return env
    env.close()
    if is_headless():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame then draws into arrays without a display
    return _make(env_id, kwargs | {"render_mode": mode})


def describe_error(error: BaseException) -> str:
    """The type and message of an exception on one line; of Gymnasium's own exceptions the message suffices."""
    name, text = type(error).__name__, reason(error)
    return text if isinstance(error, gym.error.Error) or text == name else f"{name}: {text}"


def _make(env_id: str, kwargs: dict) -> gym.Env:
    if not isinstance(env_id, str) or not isinstance(kwargs, dict):
        raise UserError(f"env.id={env_id} must be a name, and env.kwargs={kwargs} keys and values")
    _register(env_id)
    try:
        return gym.make(env_id, **{"disable_env_checker": True, **kwargs})  # which warns of screens that are not uint8
    except gym.error.UnregisteredEnv:
        near = difflib.get_close_matches(env_id, gym.registry, n=3, cutoff=0.3) or ["ALE/Pong-v5"]
        extra = EXTRAS.get(env_id.split("/")[0])
        hint = f"; pip install 'genie-world[{extra}]' if that is meant" if extra else ""
        raise UserError(f"no environment '{env_id}'; similar ones: {', '.join(near)}{hint}") from None
    except (Exception, SystemExit) as error:
        if "MUJOCO_GL" in os.environ and find_opengl() is None:  # MuJoCo is then not even imported
            raise UserError(f"MUJOCO_GL={os.environ['MUJOCO_GL']} does not work here: {ADVICE}") from None
        raise UserError(f"environment '{env_id}' does not start with {kwargs}: {describe_error(error)}") from error


def _register(env_id: str) -> None:
    """Registers the environments of the id's family, where a package has them."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner
    logging.getLogger("OpenGL").setLevel(logging.CRITICAL)  # no notes about its attempts
    gym.register_envs(ale_py)
    family = env_id.split("/")[0]
    if any(name.startswith(f"{family}/") for name in gym.registry):
        return
    for point in entry_points(group="gymnasium.envs", name=family):  # what packages like MinAtar declare
        point.load()()
    if family == "Procgen":
        with suppress(ImportError):  # without the extra
            importlib.import_module("data_modules.environments.procgen")
    if family == "dm_control":
        find_opengl()  # dm_control looks for it only on import
        with suppress(ImportError):
            absl = importlib.import_module("absl.logging")
            absl.set_verbosity(absl.WARNING)  # no notes about renderers
            importlib.import_module("shimmy")  # registers them
