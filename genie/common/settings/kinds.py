"""Kinds of values that a key of the configuration may have: ranges of numbers, texts, names, places.

A kind is a type for a field of `Settings`, as in `num_frames: Count`; `Count | None` also takes null. The message of an
invalid value continues `key=value`: "must be a whole number of at least 1".
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from genie.common.errors import UserError

LONGEST_NAME = 200  # bytes of a folder's name: file systems take 255, and temporary names are longer than it
LARGEST = 2**63 - 1  # what a tensor and an array hold
LEFT_OUT: Any = None  # the default of a field that the configuration may leave out: the code has its own


class Settings(BaseModel):
    """A group of keys. Fields without a default stand in conf/; those with `LEFT_OUT` need not, and can still be given
    without a `+`. Keys that no field names (`+key=value`) are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True)  # validators, on first use

    def plain(self) -> dict[str, Any]:
        """The keys and values as they were given, in plain containers."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def changed(self, **values: Any) -> Self:
        """A copy with other values, which are not checked."""
        return self.model_copy(update=values)


def invalid(problem: str) -> PydanticCustomError:
    """The error of a kind: how `key=value` goes on."""
    return PydanticCustomError("kind", "{problem}", {"problem": problem})


@dataclass(frozen=True)
class Range:
    """Numbers from `least` (exclusive with `above`) to `most` (exclusive with `below`); `words` are taken as well."""

    least: float = -math.inf
    most: float = math.inf
    whole: bool = True
    above: bool = False
    below: bool = False
    words: tuple[str, ...] = ()

    def __call__(self, value: Any) -> Any:
        if value in self.words and isinstance(value, str):
            return value
        if not _is_number(value) or not self.takes(value):
            raise invalid(f"must be {self}")
        return int(value) if self.whole else value

    def require(self, key: str, value: Any) -> Any:
        """A value that comes from no configuration; `UserError` for one outside, of a whole range for 4.0, too."""
        if self.whole and isinstance(value, float) or not _is_number(value) or not self.takes(value):
            raise UserError(f"{key}={value!r} must be {self}")
        return value

    def takes(self, value: float) -> bool:
        if isinstance(value, int) and abs(value) > LARGEST or not math.isfinite(value):
            return False
        if self.whole and (value != int(value) or abs(value) > LARGEST):
            return False
        low = value > self.least if self.above else value >= self.least
        return low and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.least:g}" if self.above else f"of at least {self.least:g}"
        if self.most == math.inf:
            range_ = "" if self.least == -math.inf else f" {low}"
        elif self.below or self.above:
            range_ = f" {low} and {'below' if self.below else 'at most'} {self.most:g}"
        else:
            range_ = f" from {self.least:g} to {int(self.most) if self.whole else f'{self.most:g}'}"
        return f"{kind}{range_}{''.join(f', or {word}' for word in self.words)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid("must be true or false")
    return value


def _text(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        raise invalid("must be one word or text")
    return value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _word(value: Any) -> str:  # not in TEXTS: what is typed for it is read as Hydra reads it
    return _text(value)


def _keys(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid("must be keys and values in braces, as in {a: 1}")
    return value


def _name(value: Any) -> str:
    text = "null" if value is None else _text(value)
    problem = None
    if value is None or not text.strip():
        problem = "is no name: was a variable of the shell not set?"
    elif bad := unprintable(text):
        problem = f"holds the character {bad!r}"
    elif text.startswith(("/", "~")) or ":\\" in text or any(part in ("", ".", "..") for part in text.split("/")):
        problem = "leads out of the folder that it belongs into: where that is, output_dir= or data.root= say"
    elif any(part != part.strip() for part in text.split("/")):
        problem = "begins or ends with a space"
    elif any(len(part.encode()) > LONGEST_NAME for part in text.split("/")):
        problem = f"is too long for a folder: {len(text.encode())} bytes, and {LONGEST_NAME} can be"
    if problem:
        raise invalid(f"{problem}; give a name such as pong")
    return text


def _place(value: Any) -> str:
    if value is None or isinstance(value, str) and not value.strip():
        raise invalid("names no folder or file: was a variable of the shell not set?")
    text = _text(value)
    if bad := unprintable(text):
        raise invalid(f"holds the character {bad!r}, which no path has")
    return text


def _host(value: Any) -> str:
    if not _text(value).strip():
        raise invalid("must be a name or an address: 127.0.0.1 for this machine alone, 0.0.0.0 to let others in")
    return _text(value)


def _places(value: Any) -> str | list[str]:
    return [_place(one) for one in value] if isinstance(value, list) else _place(value)


def _size(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) != 2:
        raise invalid("must be two whole numbers, [height, width]")
    return value


def unprintable(text: str) -> str | None:
    """The first control character or lone surrogate of a text."""
    return next((char for char in text if ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000), None)


Whole = Annotated[int, BeforeValidator(Range())]
Count = Annotated[int, BeforeValidator(Range(1))]
Several = Annotated[int, BeforeValidator(Range(2))]
FromZero = Annotated[int, BeforeValidator(Range(0))]
Depth = Annotated[int, BeforeValidator(Range(1, 10_000))]  # layers, each of which takes time to make
Workers = Annotated[int, BeforeValidator(Range(0, 1024))]
Port = Annotated[int, BeforeValidator(Range(0, 65535))]
Seed = Annotated[int, BeforeValidator(Range(0, 2**32 - 1))]  # what NumPy and Lightning take
Real = Annotated[float, BeforeValidator(Range(whole=False))]
Positive = Annotated[float, BeforeValidator(Range(0, whole=False, above=True))]
NotNegative = Annotated[float, BeforeValidator(Range(0, whole=False))]
FromOne = Annotated[float, BeforeValidator(Range(1, whole=False))]
Share = Annotated[float, BeforeValidator(Range(0, 1, whole=False))]
SomeShare = Annotated[float, BeforeValidator(Range(0, 1, whole=False, above=True))]
Half = Annotated[float, BeforeValidator(Range(0, 0.5, whole=False))]
Inside = Annotated[float, BeforeValidator(Range(0, 1, whole=False, above=True, below=True))]
Decay = Annotated[float, BeforeValidator(Range(0, 1, whole=False, below=True))]
Rate = Annotated[float, BeforeValidator(Range(0, 1000, whole=False, above=True))]  # frames a second
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, BeforeValidator(_text)]  # free: what is typed is taken literally, 123 and true as well
Word = Annotated[str, BeforeValidator(_word)]  # such as one of choices that are known elsewhere; others are a `Literal`
Words = list[Word]
One = TypeVar("One")
Some = Annotated[list[One], Field(min_length=1)]  # a list that is not empty: Some[Count]
Keys = Annotated[dict[Any, Any], BeforeValidator(_keys)]
Name = Annotated[str, BeforeValidator(_name)]  # becomes a folder, which may have several parts: pong/small
Place = Annotated[str, BeforeValidator(_place)]  # a path, or an address of object storage
Host = Annotated[str, BeforeValidator(_host)]
Places = Annotated[str | list[str], BeforeValidator(_places)]
Side = Annotated[int, BeforeValidator(Range(1, 2**14))]  # pixels
WorldKind = Literal["genie", "simulator"]
Reconstruction = Literal["mse", "bce"]
Weighting = Literal["symmetric", "target"]
Moved = Literal["decoder", "encoder"]
Size = Annotated[list[Side], BeforeValidator(_size)]  # height, width
TEXTS = (_text, _name, _place, _places)  # kinds that take 2026 and true as they were typed
WORDS = (*TEXTS, _word)  # kinds of which a number becomes a text


def whole(least: int, most: float = math.inf) -> BeforeValidator:
    """For whole numbers from `least` to `most`: `Annotated[int, whole(1, 5)]`."""
    return BeforeValidator(Range(least, most))
