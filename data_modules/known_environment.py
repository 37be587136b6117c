"""Which environment a data set was recorded of: its configuration says so, or its files do."""

from pathlib import Path
from typing import Any

from data_modules.origin import read_origin
from data_modules.sources import EpisodeFiles, files_of


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
