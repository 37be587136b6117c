"""Environment of a recorder's settings.

The environment that a `data.recorder` group describes, or another one by its settings.

Which environment a data set was recorded of: its configuration says so, or its files do.
"""

from pathlib import Path
from typing import Any

from data_modules.environments.gymnasium_environment import GymnasiumEnvironment, observed, settings_for, shows_reset
from data_modules.environments.isaac_lab import IsaacLabEnvironment
from data_modules.environments.protocol import Environment
from data_modules.formats.episodes import read_origin
from data_modules.sources import EpisodeFiles, files_of
from genie.common.errors import UserError


def open_environment(
    settings: dict[str, Any], image_size: tuple[int, int] | None, env_id: str | None = None
) -> Environment:
    """The environment of a resolved group `data.recorder`; `env_id`: of that id instead.

    image_size: (H, W) of frames; not looked at where states are observed. Raises UserError where there is none, or the
    settings do not fit it.
    """
    settings = settings_for(settings, env_id)
    env, observe = settings["env"], observed(settings)
    names = settings["action_names"]
    options = env.get("options")  # groups that a run or a file kept from before there were some have none
    if str(env["id"]).startswith("Isaac-"):
        if options:
            raise UserError(f"environment '{env['id']}' is reset without options: leave data.recorder.env.options={{}}")
        return IsaacLabEnvironment(env["id"], env["kwargs"], observe, settings["fps"], names)
    return GymnasiumEnvironment(
        env["id"],
        env["kwargs"],
        observe,
        image_size,
        settings["crop"],
        settings["fps"],
        settings["actions"],
        names,
        options,
        shows_reset(settings),
    )


def environment_settings(data: dict[str, Any]) -> dict[str, Any] | None:
    """What the environment of a resolved group `data` is opened with (`open_environment`): its recorder, or else what
    the first of its episode files says; None where neither does. UserError for a file that cannot be read."""
    recorder = data.get("recorder") or {}
    if "env" in recorder:
        return recorder
    if data.get("source") != "episodes":
        return None
    files = files_of(EpisodeFiles, Path(data["root"]))
    origin = read_origin(files[0]) if files else None
    return None if origin is None else origin.settings
