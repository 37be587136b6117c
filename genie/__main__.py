"""Program of all commands: `genie`, or `python -m genie`."""

from genie.common.program import main

if __name__ == "__main__":
    main()
