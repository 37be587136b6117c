"""The keys of a group `data.recorder` that an environment is opened with."""

from typing import Any

from genie.common.errors import UserError

# all that the environment is opened with
REPLAYED = ("env", "observe", "actions", "action_names", "crop", "fps", "reset_screen")
OF_ONE = ("actions", "action_names", "crop", "fps")  # those of them that fit the environment they were made for


def observed(settings: dict[str, Any]) -> str:
    """ "frames" or "states"; groups that a run kept from before there was a choice do not say."""
    return settings.get("observe", "frames")


def shows_reset(settings: dict[str, Any]) -> bool:
    """Whether episodes begin with the reset screen of an emulator; so they did where settings do not say."""
    return settings.get("reset_screen", True)


def check_options(options: Any) -> None:
    """Raises UserError where what every reset is given is neither keys and values nor null."""
    if not (options is None or isinstance(options, dict)):
        raise UserError(f"data.recorder.env.options={options} must be keys and values, such as {{level: 3}}")


def settings_for(settings: dict[str, Any], env_id: str | None, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """A group `data.recorder` for another environment: without what was made for the one that it names.

    What its maker and its resets take (`env.kwargs`, `env.options`) stays only for one of the same family: ALE/Pong-v5
    and ALE/Breakout-v5. given: those of the settings that the user asked for, which stay as well.
    """
    former, given = settings["env"], dict(given or {})
    if env_id is None or env_id == former["id"]:
        return settings
    asked = given.pop("env", {})
    for source in (former, asked):
        check_options(source.get("options"))
    same = env_id.split("/")[0] == former["id"].split("/")[0]
    env = {name: (former.get(name) or {} if same else {}) | (asked.get(name) or {}) for name in ("kwargs", "options")}
    kept = {name: value for name, value in given.items() if name in OF_ONE}
    return settings | dict.fromkeys(OF_ONE) | kept | {"env": {"id": env_id, **env}}
