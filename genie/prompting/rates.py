"""What moves, at another rate."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Picture = TypeVar("Picture")
ROUNDING = 1e-6  # seconds: times in files are multiples of some fraction


def at_rate(shown: Iterable[tuple[float, Picture | None]], fps: float) -> Iterator[Picture]:
    """What is seen 0, 1/`fps`, 2/`fps`, ... seconds after the beginning.

    `shown`: when each picture appears, in seconds, rising; the last is None: from then on nothing is seen.
    """
    count, first, seen = 0, None, None
    for second, picture in shown:
        first = second if first is None else first
        while seen is not None and count / fps < second - first - ROUNDING:
            yield seen
            count += 1
        seen = picture
