"""Environments from the settings of a recorder, which are in a configuration or in recorded files."""

from pathlib import Path
from typing import Any

from data_modules.environments.gymnasium_environment import GymnasiumEnvironment, settings_for
from data_modules.environments.isaac_lab import IsaacLabEnvironment
from data_modules.environments.protocol import Environment
from data_modules.formats.episodes import read_origin
from data_modules.sources import EpisodeFiles, files_of
from genie.common.errors import UserError


def open_environment(
    settings: dict[str, Any], image_size: tuple[int, int] | None, env_id: str | None = None
) -> Environment:
    """The environment of a resolved group `data.recorder`; `env_id`: of that id instead. image_size: (H, W) of frames;
    ignored for states. Raises UserError where there is no such environment, or the settings do not fit it."""
    settings = settings_for(settings, env_id)
    # Settings of older runs and files have no observe, options and reset_screen.
    env, observe, names = settings["env"], settings.get("observe", "frames"), settings["action_names"]
    options = env.get("options")
    if str(env["id"]).startswith("Isaac-"):
        if options:
            raise UserError(f"environment '{env['id']}' is reset without options: leave data.recorder.env.options={{}}")
        return IsaacLabEnvironment(env["id"], env["kwargs"], observe, settings["fps"], names)
    return GymnasiumEnvironment(
        env["id"], env["kwargs"], observe, image_size, settings["crop"], settings["fps"], settings["actions"], names,
        options, settings.get("reset_screen", True),
    )  # fmt: skip


def environment_settings(data: dict[str, Any]) -> dict[str, Any] | None:
    """The settings for `open_environment` of a resolved group `data`: its recorder, or else those stored in the first
    of its episode files; None where there are none. UserError for a file that cannot be read."""
    recorder = data.get("recorder") or {}
    if "env" in recorder:
        return recorder
    if data.get("source") != "episodes":
        return None
    files = files_of(EpisodeFiles, Path(data["root"]))
    origin = read_origin(files[0]) if files else None
    return None if origin is None else origin.settings
