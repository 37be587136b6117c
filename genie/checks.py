"""Checks of values that a user gives on the command line: one line that names the key, before any work."""

from typing import Any

from genie.errors import UserError

LARGEST = 2**63 - 1  # what a tensor and an array hold


def require_whole(
    config: dict[str, Any], *names: str, least: int = 1, most: int = LARGEST, prefix: str = "", null: bool = True
) -> None:
    """Raises UserError where one of the keys is not a whole number in [least, most]; None stands for a default where
    there is one, `null`."""
    for name in names:
        value = config[name]
        if value is None and null:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{prefix}{name}={value} must be a whole number of at least {least}")
        if value > most:
            raise UserError(f"{prefix}{name}={value} must be at most {most}")


def require_number(config: dict[str, Any], *names: str, above: float | None = None, most: float | None = None) -> None:
    """Raises UserError where one of the keys is no number, not above `above` or above `most`; None: a default."""
    for name in names:
        value = config[name]
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise UserError(f"{name}={value} must be a number")
        if above is not None and value <= above or most is not None and value > most:
            raise UserError(f"{name}={value} must be more than {above:g} and at most {most:g}")
