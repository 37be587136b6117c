"""Atomic file writing, JSON, and the cache folder."""

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

from genie.common.errors import reason, warn

TEMPORARY = ".tmp-"


def cache_folder() -> Path:
    """GENIE_CACHE, or genie-world/ in the platform's folder of user caches."""
    if given := os.environ.get("GENIE_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "genie-world"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genie-world"


@contextmanager
def replacing(path: str | Path, mode: str = "wb", **open_arguments) -> Iterator[IO]:
    """Opens a temporary file beside `path`, which it replaces after a sync on a normal exit."""
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
    """The object in a JSON file; None where the file is missing, damaged or holds something else."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def sync(path: Path) -> None:
    """Makes writes to a file, or renames in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def not_vital(what: str | Path) -> Iterator[None]:
    """Around writing a file that the run does not depend on: a disk error becomes a line on stderr."""
    try:
        yield
    except OSError as error:
        warn(f"{what} could not be written ({reason(error)})")


def remove_leftovers(folder: Path) -> None:
    """Deletes temporary files and folders that a killed process left in `folder`."""
    for leftover in folder.glob(f".*{TEMPORARY}*"):
        delete(leftover, ignore_errors=True)


def delete(path: Path, ignore_errors: bool = False) -> None:
    """Deletes a file or link if it exists, or a folder; `ignore_errors`: of a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=ignore_errors)
    else:
        path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Nested containers with floats rounded to four decimals, and None for non-finite ones, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def to_json(report: dict[str, Any]) -> str:
    """Indented JSON with every list of plain values on one line."""
    text = json.dumps(report, indent=2)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text) + "\n"
