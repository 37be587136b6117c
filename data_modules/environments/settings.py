"""The keys of a group `data.recorder` that an environment is opened with."""

from typing import Any

REPLAYED = ("env", "observe", "actions", "action_names", "crop", "fps")  # all that the environment is opened with
OF_ONE = ("actions", "action_names", "crop", "fps")  # those of them that fit the environment they were made for


def observed(settings: dict[str, Any]) -> str:
    """ "frames" or "states"; groups that a run kept from before there was a choice do not say."""
    return settings.get("observe", "frames")


def settings_for(settings: dict[str, Any], env_id: str | None) -> dict[str, Any]:
    """A group `data.recorder` for another environment: without what was made for the one that it names.

    What its maker takes (`env.kwargs`) stays only for one of the same family: ALE/Pong-v5 and ALE/Breakout-v5.
    """
    former = settings["env"]
    if env_id is None or env_id == former["id"]:
        return settings
    family = env_id.split("/")[0]
    kwargs = former["kwargs"] if family == former["id"].split("/")[0] else {}
    return settings | dict.fromkeys(OF_ONE) | {"env": {"id": env_id, "kwargs": kwargs}}
