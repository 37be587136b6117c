"""Finding: one line of a diagnosis."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from genie.common.errors import failure

Status = Literal["ok", "note", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """status: "ok"; "note", of what is worth knowing; "missing", of what is optional; "broken", without which commands
    do not work. advice: what to do about it."""

    part: str
    name: str
    status: Status
    value: str
    advice: str = ""


def guarded(part: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; an error that it raises is one, too."""
    try:
        yield from check()
    except Exception as error:  # a diagnosis says what is wrong, whatever it is
        yield Finding(part, check.__name__.replace("_", " "), "broken", failure(error))
