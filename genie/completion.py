"""Completion of commands, keys and choices in a shell: `genie completion bash`, or zsh."""

import sys

from genie.common.completion import SCRIPTS, complete
from genie.common.program import fail

HELP = """Prints what makes a shell complete `genie`: its commands, then their keys, groups and choices.

  genie completion bash|zsh

In ~/.bashrc or ~/.zshrc:
  eval "$(genie completion bash)"
  eval "$(genie completion zsh)"
"""


def main() -> None:
    match sys.argv[1:]:
        case [] | ["--help" | "-h"]:
            print(HELP, end="")
        case ["query", line]:  # the line as typed so far; asked by the scripts
            print("\n".join(complete(line)))
        case [shell] if shell in SCRIPTS:
            print(SCRIPTS[shell], end="")
        case _:
            fail(f"genie completion takes the name of a shell, {' or '.join(SCRIPTS)}")


if __name__ == "__main__":
    main()
