"""What the episode files of a folder say of themselves, found out once: of thousands, opening each takes minutes.

An entry holds for a path, a size and a time of change: new and changed files alone are opened, removed ones disappear.
"""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_modules.episode_header import EpisodeHeader, read_header
from data_modules.index_file import locked
from genie.common.errors import UserError
from genie.common.files import replacing

NAME = "episodes-3"  # with the version of what the entries mean


def headers_of(folder: Path, files: list[Path]) -> dict[Path, EpisodeHeader | str]:
    """The header of each of `files`, which are below `folder`; for a damaged one, what is wrong."""
    keys = {path: path.relative_to(folder).as_posix() for path in files}
    try:
        with locked(folder, NAME) as place:
            place = place.with_suffix(".json")
            known = _load(place)
            entries = {key: _entry(path, known.get(key)) for path, key in keys.items()}
            if entries != known:
                with replacing(place, "w") as file:
                    json.dump(entries, file)
    except OSError:  # an index can be kept nowhere
        entries = {key: _entry(path, None) for path, key in keys.items()}
    return {path: _found(entries[key]) for path, key in keys.items()}


def _load(place: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # not there, or of no use: it is made anew
        return json.loads(place.read_text())
    return {}


def _entry(path: Path, known: dict[str, Any] | None) -> dict[str, Any]:
    """What is to be kept of a file."""
    try:
        status = path.stat()
    except OSError as error:  # a link to nothing
        return {"stamp": None, "damage": f"cannot read {path}: {error.strerror or error}"}
    stamp = [status.st_size, status.st_mtime_ns]
    if known is not None and known["stamp"] == stamp:
        return known
    try:
        return {"stamp": stamp, "header": asdict(read_header(path))}
    except UserError as error:
        return {"stamp": stamp, "damage": str(error)}


def _found(entry: dict[str, Any]) -> EpisodeHeader | str:
    return entry["damage"] if "damage" in entry else EpisodeHeader(**entry["header"])
