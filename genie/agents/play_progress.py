"""How far a play is: a bar on a terminal, and a line every half minute in a log."""

import os
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 30.0


class PlayProgress:
    """Counts the decisions and the episodes of a player; a context manager. `label`: who plays."""

    def __init__(self, label: str, episodes: int) -> None:
        self.label, self.episodes = label, episodes
        self.decisions = self.over = 0
        self.started = self.spoken = time.monotonic()
        self.is_terminal = sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ  # !python in a notebook
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
        )
        console = Console(stderr=True, quiet=not self.is_terminal)
        self.bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self.task = self.bar.add_task(label, total=episodes, state="")

    def __enter__(self) -> "PlayProgress":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def decided(self, count: int) -> None:
        """Decisions that were made just now."""
        self.decisions += count
        now = time.monotonic()
        state = f"{self.decisions:,} decisions, {self.decisions / max(now - self.started, 1e-9):.3g} a second"
        self.bar.update(self.task, state=state)
        if not self.is_terminal and now - self.spoken >= LINE_SECONDS:
            self.spoken = now
            print(f"{self.label}: {self.over} of {self.episodes} episodes, {state}", flush=True)

    def ended(self) -> None:
        """One more episode is over."""
        self.over += 1
        self.bar.advance(self.task)
