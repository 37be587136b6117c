"""How a fuzzed input ends: in a result, in one line for the user, or in a fault.

A kind of input (`episodes.py`, `config_values.py`, …) is a class: built once with an empty folder, it makes the good
input there; `example(chance, note)` then damages a copy of it as `chance` says, tells `note` what it did, brings it to
the code as a user would and returns. What may happen:

    result      it returned: what came out is that of the good input, or what the damage explains
    line        UserError or RunError: one line that the command prints
    traceback   any other exception, one in a log, or a message of several lines
    hang        it took longer than it may
    silent      `SilentChange`: it gave a result, and a wrong one

All choices come from `chance`, so a seed is an example. In tests `chance` is Hypothesis', which looks for the smallest
example that fails; `python -m benchmarks.fuzz` draws whole numbers as seeds.
"""

import contextlib
import copy
import io
import logging
import random
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from genie.common.errors import RunError, UserError

LONGEST_LINE = 2500  # characters
ENDS = ("result", "line", "traceback", "hang", "silent")
FAULTS = ENDS[2:]


class SilentChange(AssertionError):
    """A result that differs from the good one, and the damage does not explain it."""


class Hang(BaseException):
    """The time is over. No `except Exception` may take it for an error of its own."""


class Kind(Protocol):
    """One kind of input."""

    def __init__(self, folder: Path) -> None: ...

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        """Tries one. Returns, or raises what the code under test raises."""

    def close(self) -> None:
        """Ends what was started."""


@dataclass
class Outcome:
    """`end`: one of `ENDS`; `detail`: the line, or what is known of the fault; `notes`: what was done to the input."""

    end: str
    detail: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def fault(self) -> bool:
        return self.end in FAULTS

    def __str__(self) -> str:
        return f"{self.end} of [{'; '.join(self.notes)}]: {self.detail}"


def outcome(kind: Kind, chance: random.Random, limit: float) -> Outcome:
    """Tries one example of a kind, for at most `limit` seconds."""
    notes: list[str] = []
    with watched(limit) as seen:
        try:
            kind.example(chance, lambda text: notes.append(text[:300]))
            end, detail = "result", ""
        except (UserError, RunError) as error:
            end, detail = "line", str(error)
            if "\n" in detail or not detail.strip() or len(detail) > LONGEST_LINE:
                end, detail = "traceback", f"no single line: {detail[:LONGEST_LINE]!r}"
        except SilentChange as error:
            end, detail = "silent", str(error)
        except Hang:
            end, detail = "hang", traceback.format_exc(limit=-6)
        except Exception as error:
            if error.__class__.__module__.startswith("hypothesis"):  # of the choices, not of the code
                raise
            end, detail = "traceback", traceback.format_exc(limit=-8)
    if seen and end in ("result", "line"):
        end, detail = "traceback", "\n".join(seen)
    return Outcome(end, detail, notes)


@contextlib.contextmanager
def watched(limit: float) -> Iterator[list[str]]:
    """Raises `Hang` when the time is over; gives tracebacks that were printed or logged, and keeps the output quiet."""
    seen: list[str] = []
    errors, log = io.StringIO(), _Tracebacks(seen)
    root, quiet = logging.getLogger(), logging.getLogger().handlers[:]

    def over(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit)
    root.handlers = [log]
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            yield seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        root.handlers = quiet
        if "Traceback (most recent call last)" in errors.getvalue():
            seen.append(errors.getvalue()[-2000:])


class _Tracebacks(logging.Handler):
    """Keeps what is logged with an exception."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            last = "".join(traceback.format_exception(record.exc_info[1], limit=-6))
            self.seen.append(f"logged: {record.getMessage()}\n{last}")


# -- what all kinds do to bytes and values ----------------------------------------------------------------------------


def damaged(chance: random.Random, content: bytes, note: Callable[[str], None]) -> bytes:
    """Bytes cut off, flipped, doubled, zeroed or put in."""
    raw = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        place = chance.randrange(len(raw) + 1) if chance.random() < 0.7 else chance.randrange(min(len(raw), 64) + 1)
        length = chance.choice((1, 1, 2, 4, 16, 200))
        match chance.randrange(6):
            case 0:
                note(f"cut off at {place} of {len(raw)} bytes")
                del raw[place:]
            case 1 | 2 if raw:
                place = min(place, len(raw) - 1)
                bit = 1 << chance.randrange(8)
                note(f"bit {bit} of byte {place} flipped")
                raw[place] ^= bit
            case 3:
                note(f"{length} bytes at {place} are zero")
                raw[place : place + length] = bytes(len(raw[place : place + length]))
            case 4:
                note(f"{length} bytes at {place} twice")
                raw[place:place] = raw[place : place + length]
            case _:
                more = bytes(chance.randrange(256) for _ in range(min(length, 16)))
                note(f"{more!r} put in at {place}")
                raw[place:place] = more
    return bytes(raw)


NUMBERS = (
    0, 1, -1, 2, 3, 7, 0.5, -0.5, 1.5, 1e-9, 1e30, -1e30, 10**9, -(10**9), 2**31, 2**63, 10**30, 1e308,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
TEXTS = (
    "", " ", "x", "0", "-1", "nan", "null", "true", "no", "1,2", "é", "日本", "a b", "../..", "/proc/nope", "a\nb",
    "\0", "'", '"', "$" + "{x}", "%", "#", "x" * 999, "\ud800", "１", "1_0", "0x10", "[", "{}",
)  # fmt: skip


def odd_value(chance: random.Random, depth: int = 2):
    """Anything that JSON or YAML can say: numbers of all sizes, texts, null, lists, nested things."""
    match chance.randrange(8 if depth else 6):
        case 0 | 1 | 2:
            return chance.choice(NUMBERS)
        case 3:
            return chance.choice(TEXTS)
        case 4:
            return chance.choice((None, True, False))
        case 5:
            return chance.choice(([], {}, [None], {"a": 1}))
        case 6:
            return [odd_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            keys = ("a", "type", "0", "é", "")
            return {chance.choice(keys): odd_value(chance, depth - 1) for _ in range(chance.randrange(3))}


def mutated(chance: random.Random, value: Any, note: Callable[[str], None]) -> Any:
    """A copy of nested plain values in which a few are others, missing or new."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 4))):
        part, path = value, []
        while True:
            keys = list(part) if isinstance(part, dict) else list(range(len(part)))
            if not keys:
                break
            path.append(chance.choice(keys))
            child = part[path[-1]]
            if not isinstance(child, dict | list) or not child or chance.random() < 0.3:
                break
            part = child
        if not keys:
            continue
        match chance.randrange(5):
            case 0:
                note(f"without {path}")
                del part[path[-1]]
            case 1 if isinstance(part, dict):
                name = chance.choice(("x", "from", "é", "threads", "frames"))
                part[name] = odd_value(chance)
                note(f"{[*path[:-1], name]} is {str(part[name])[:100]!r}")
            case _:
                part[path[-1]] = odd_value(chance)
                note(f"{path} is {str(part[path[-1]])[:100]!r}")
    return value
