"""The help of all commands, as docs/help.md shows it: `python -m docs.command_help` prints it."""

from hydra import compose

from docs.configuration import initialize
from genie.common import cli  # the resolver `options` of the texts
from genie.common.settings.commands import COMMANDS


def reference() -> str:
    parts = []
    with initialize():
        for command in COMMANDS:
            text = compose(command, return_hydra_config=True).hydra.help.template
            parts += [f"## genie.{command}", "", "```text", text.strip(), "```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    assert cli.options
    print(reference())
