"""What a benchmark is given on its command line: `key=value`, as its own settings say.

    class Arguments(Settings):
        run: Place = "outputs/pong"
        bounds: list[NotNegative] = [0.1, 0.5, 2.0]           # bounds=0.1,0.5

    def main() -> None:
        given, overrides = arguments(Arguments, others=True)  # the others are for a command of genie
        config = configuration("train", overrides)

    if __name__ == "__main__":
        started(main)

What is wrong is one line, as it is in the commands.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hydra import initialize_config_module
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from genie.common.cli import fail, resolved
from genie.common.config_errors import did_you_mean, explain, one_line
from genie.common.errors import RunError, UserError
from genie.common.overrides import parsed
from genie.common.settings.kinds import Settings
from genie.common.settings.schema import checked

Given = TypeVar("Given", bound=Settings)


def arguments(
    kind: type[Given], given: Sequence[str] | None = None, others: bool = False
) -> tuple[Given, list[str]]:  # fmt: skip
    """The settings of a class with what is given (default: on the command line), and the other arguments.

    How a value is read follows from the field's default: a list has commas between its values, with or without
    brackets; a text is taken as it is typed. Raises UserError, in one line, for an invalid value, and without `others`
    for a key that no field has.
    """
    values: dict[str, Any] = {}
    rest = []
    for argument in sys.argv[1:] if given is None else given:
        key, equals, text = argument.partition("=")
        if key in kind.model_fields and equals:
            values[key] = _value(text, kind.model_fields[key].default)
        elif others:
            rest.append(argument)
        else:
            keys = list(kind.model_fields)
            raise UserError(f"{argument}: there is {', '.join(f'{key}=' for key in keys)}{did_you_mean(key, keys)}")
    return checked(kind, values), rest


def _value(text: str, default: Any) -> Any:
    if isinstance(default, list):
        inner = text.removeprefix("[").removesuffix("]")
        value = parsed(f"[{inner}]")
        return inner.split(",") if value is None else value
    if isinstance(default, bool | int | float):
        value = parsed(text)
        return value if isinstance(value, bool | int | float) else text
    return text


def configuration(command: str, overrides: Sequence[str]) -> Any:
    """The configuration of a command of genie with overrides, as the command gets it. Raises UserError."""
    with initialize_config_module("conf", version_base="1.3"):
        try:
            return resolved(command, overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error, command)) from error


def started(main: Callable[[], None]) -> None:
    """Runs a benchmark. A UserError is one line and exit code 2, a RunError one line and exit code 1."""
    try:
        main()
    except UserError as error:
        fail(one_line(error))
    except RunError as error:
        sys.exit(f"error: {one_line(error)}")
