"""Errors that the command line prints as one line.

The two exceptions that the command line prints as one line, without a traceback: a mistake of the user, and a run
that cannot go on; and what any other exception says, for such a line.
"""


class UserError(ValueError):
    """A wrong value from the user. The message is ONE line: what is wrong, with which value, and what to do.

    The command line prints `error: <message>` and exits with code 2.
    """


class SilentExit(UserError):
    """The first of several processes has ended with an error that it prints itself: the others end without a word."""


class RunError(RuntimeError):
    """Why a run that began rightly cannot go on: no memory, no disk space, a loss that is no number.

    The message is ONE line. The command line prints `error: <message>` and exits with code 1.
    """


def failure(error: BaseException) -> str:
    """What went wrong, on one line for a table: what a `UserError` or `RunError` says; of others their kind as well."""
    return reason(error) if isinstance(error, UserError | RunError) else f"{type(error).__name__}: {reason(error)}"


def reason(error: BaseException) -> str:
    """What an exception says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
