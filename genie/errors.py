"""The one exception for mistakes of the user: the command line prints it as one line, without a traceback."""


class UserError(ValueError):
    """A wrong value from the user. The message is ONE line: what is wrong, with which value, and what to do.

    The command line prints `error: <message>` and exits with code 2.
    """
