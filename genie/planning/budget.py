"""A time budget: work in pieces goes on while the next piece is likely to fit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """`seconds` from now on; None: there is all the time."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.started, self.longest = seconds, time.monotonic(), 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    def fits(self) -> bool:
        """Whether a piece as long as the longest so far would end in time."""
        return self.seconds is None or self.elapsed + self.longest <= self.seconds

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Around each piece of work."""
        begun = self.elapsed
        yield
        self.longest = max(self.longest, self.elapsed - begun)
