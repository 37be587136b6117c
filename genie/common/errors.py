"""Exceptions that the command line prints as one line without a traceback."""

import sys
from collections.abc import Callable

from genie.common.program import as_started

# Each gives one line for an error of a library, or None; whatever uses that library appends its own.
EXPLANATIONS: list[Callable[[BaseException], str | None]] = []


class UserError(ValueError):
    """A wrong value from the user. The message is ONE line: what is wrong, with which value, and what to do.

    The command line prints `error: <message>` and exits with code 2.
    """


class SilentExit(UserError):
    """In the other processes, after the first one has failed and printed its error: they exit silently."""


class RunError(RuntimeError):
    """Why a valid run cannot continue: no memory, no disk space, a loss that is not finite.

    The message is ONE line. The command line prints `error: <message>` and exits with code 1.
    """


def warn(message: str) -> None:
    """Prints a warning on stderr."""
    print(f"WARNING: {as_started(message)}", file=sys.stderr, flush=True)


def failure(error: BaseException) -> str:
    """An exception on one line for a table: its message, preceded by its type unless a `UserError` or `RunError`."""
    return reason(error) if isinstance(error, UserError | RunError) else f"{type(error).__name__}: {reason(error)}"


def reason(error: BaseException) -> str:
    """The message of an exception on one line; its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
