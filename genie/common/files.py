"""Atomic file writing and the cache folder.

Writing a file so that it is there whole or not at all, and where files are kept that can be made again.
"""

import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from genie.common.errors import reason

TEMPORARY = ".tmp-"


def cache_folder() -> Path:
    """GENIE_CACHE, or genie-world/ where the platform keeps the user's caches."""
    if given := os.environ.get("GENIE_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "genie-world"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genie-world"


@contextmanager
def replacing(path: str | Path, mode: str = "wb", **open_arguments) -> Iterator[IO]:
    """Opens a temporary file beside `path`; on a normal exit it is synced and takes the place of `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{TEMPORARY}{os.getpid()}")
    try:
        with open(temporary, mode, **open_arguments) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file of JSON; None where there is none, or what is there is damaged or something else."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def sync(path: Path) -> None:
    """Makes what was written to a file, or renamed in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def not_vital(what: str | Path) -> Iterator[None]:
    """Around the writing of something that a run can do without: what the disk refuses is a line on stderr."""
    try:
        yield
    except OSError as error:
        print(f"WARNING: {what} could not be written ({reason(error)})", file=sys.stderr, flush=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files and folders that a killed process left in `folder`."""
    for leftover in folder.glob(f".*{TEMPORARY}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Numbers with four decimals, and None for those that are infinite or not numbers, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def to_json(report: dict[str, Any]) -> str:
    """Indented, with every list of plain values on one line."""
    text = json.dumps(report, indent=2)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text) + "\n"
