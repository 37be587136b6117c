"""Trained worlds that come with the package, under names like pretrained/pong.

Every command and function that takes a run folder takes such a name. A command unpacks the world into
outputs/pretrained/ first, where its results go as those of any other run.
"""

import filecmp
from pathlib import Path, PurePath
from typing import Any

from genie.common.errors import UserError, reason
from genie.common.files import replacing

PREFIX = "pretrained"
HOME = Path(__file__).parents[1] / PREFIX
UNPACKED = Path("outputs") / PREFIX
KEYS = ("run", "policy", "oracle", "tokenizer_ckpt", "lam_ckpt")  # of configurations, whose values may be such names


def located(path: str | Path) -> Path:
    """The path, or for a name like pretrained/pong the folder in the package, unless there is one of that name here.
    UserError where the package brings no such world."""
    parts = PurePath(path).parts
    if len(parts) < 2 or parts[0] != PREFIX or Path(path).exists():
        return Path(path)
    if not (HOME / parts[1]).is_dir():
        names = sorted(f"{PREFIX}/{folder.name}" for folder in HOME.glob("*/"))
        raise UserError(f"{path}: there is no such folder, and the package brings {', '.join(names) or 'no world'}")
    return HOME.joinpath(*parts[1:])


def unpacked(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the folders of unpacked worlds in place of their names. UserError where they cannot be
    written."""

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(each) for each in value]
        if not isinstance(value, str) or located(value) == Path(value):
            return value
        parts = PurePath(value).parts
        unpack(HOME / parts[1], UNPACKED / parts[1])
        return str(UNPACKED.joinpath(*parts[1:]))

    return {key: of(value) if key in KEYS else value for key, value in config.items()}


def unpack(source: Path, target: Path) -> None:
    """Copies the files of a shipped world that are not in `target`, or differ there; others stay."""
    try:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            copy = target / file.relative_to(source)
            if not (copy.is_file() and filecmp.cmp(file, copy, shallow=False)):
                with replacing(copy) as new:
                    new.write(file.read_bytes())
    except OSError as error:
        raise UserError(f"{target} cannot be written ({reason(error)})") from error
