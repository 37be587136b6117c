"""Trained worlds by name: pretrained/pong, which comes with the package, and hf://user/name, on the Hugging Face Hub.

Every command and function that takes a run folder takes such a name. Functions read the world where it is. A command
brings it into outputs/pretrained/ or outputs/hf/ first, where its results go as those of any other run.
"""

import filecmp
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from genie.common.errors import UserError, reason
from genie.common.files import replacing
from genie.common.hub import SCHEME, downloaded, parsed_address

PREFIX = "pretrained"
HOME = Path(__file__).parents[1] / PREFIX
UNPACKED, FROM_HUB = Path("outputs", PREFIX), Path("outputs", "hf")
# of configurations, whose values may be such names; DATA: those of the package alone, with the folder of its data
KEYS = ("run", "checkpoint", "act.policy", "oracle", "policy.actor", "stage.world", "tokenizer_ckpt", "lam_ckpt")
DATA = ("data.root", "data_root")
GROUPS = {key.partition(".")[0] for key in (*KEYS, *DATA) if "." in key}
TYPED: dict[str, str] = {}  # {folder of an unpacked world: the name that the user typed}
RESULTS = "evaluation"  # a folder of a world: measured again here, its figures stay


def located(path: str | Path) -> Path:
    """The path, or for a name like pretrained/pong the folder in the package, unless there is one of that name here,
    for an address on the Hub the folder in its cache. UserError where there is no such world."""
    if address := parsed_address(path):
        return downloaded(address)
    parts = PurePath(path).parts
    if len(parts) < 2 or parts[0] != PREFIX or Path(path).exists():
        return Path(path)
    if not (HOME / parts[1]).is_dir():
        names = sorted(f"{PREFIX}/{folder.name}" for folder in HOME.glob("*/"))
        raise UserError(f"{path}: there is no such folder, and the package brings {', '.join(names) or 'no world'}")
    return HOME.joinpath(*parts[1:])


def unpacked(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The configuration with the folders of unpacked worlds in place of their names. UserError where they cannot be
    written."""

    def of(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return unpacked(value, f"{key}.") if key in GROUPS else value
        of_hub = str(value).startswith(SCHEME)  # as data, an address that a source of data may read
        return _named(value) if key in KEYS or key in DATA and not of_hub else value

    return {name: of(f"{prefix}{name}", value) for name, value in config.items()}


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, str) or (found := located(value)) == Path(value):
        return value
    if address := parsed_address(value):
        place(found, folder := FROM_HUB / address.place, linked)
    else:
        parts = PurePath(value).parts
        place(HOME / parts[1], UNPACKED / parts[1], copied)
        folder = UNPACKED.joinpath(*parts[1:])
    TYPED[str(folder)] = value
    return str(folder)


def as_typed(path: str | Path) -> str:
    """The name that the user of this command typed for the folder of an unpacked world; any other path as it is."""
    return TYPED.get(str(path), str(path))


def place(source: Path, target: Path, put: Callable[[Path, Path], bool]) -> None:
    """Puts a world's file, or the files of its folder, at `target`, where others stay: so does an evaluation made there
    unless the weights are others now. `put` makes a file that of another path; False where it is so already."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    try:
        changed = False
        for file in sorted(files, key=lambda file: file.parent.name == RESULTS):
            copy = target / file.relative_to(source)
            if file.parent.name != RESULTS or changed or not copy.exists():
                changed |= put(file, copy)
    except OSError as error:
        raise UserError(f"{target} cannot be written ({reason(error)})") from error


def copied(file: Path, copy: Path) -> bool:
    """Copies a file that differs."""
    if copy.is_file() and filecmp.cmp(file, copy, shallow=False):
        return False
    with replacing(copy) as new:
        new.write(file.read_bytes())
    return True


def linked(file: Path, link: Path) -> bool:
    """Links to a file of a cache, which is as large as the world, and never written to."""
    if link.is_symlink() and link.readlink() == file:
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.tmp-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(file)
    os.replace(temporary, link)
    return True
