"""The one exception for mistakes of the user: the command line prints it as one line, without a traceback; and what any
other exception says, for such a line."""


class UserError(ValueError):
    """A wrong value from the user. The message is ONE line: what is wrong, with which value, and what to do.

    The command line prints `error: <message>` and exits with code 2.
    """


class SaidByFirst(UserError):
    """The first of several processes has ended with an error that it prints itself: the others end without a word."""


def reason(error: BaseException) -> str:
    """What an exception says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
