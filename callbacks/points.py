"""Points of a run's curves, each of which goes to a tracker once.

A row is logged before the checkpoint that holds its step, and again by Lightning. A run that was killed repeats the
steps after its last checkpoint, with the same values, and most trackers cannot take a point back.
"""

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.loggers import Logger


class Points:
    """Names of metrics, pictures and videos by step (counted from 0, as Lightning does) that a tracker has.

    `known`: pairs (step, name) that it has of a former process.
    """

    def __init__(self, known: Iterable[tuple[int, str]] = ()) -> None:
        self.names: dict[int, set[str]] = {}
        for step, name in known:
            self.names.setdefault(step, set()).add(name)

    def new(self, named: dict[str, Any], step: int) -> dict[str, Any]:
        """Those of a step that the tracker does not have; from now on it does. Steps come in ascending order."""
        there = self.names.setdefault(step, set())
        found = {name: value for name, value in named.items() if name not in there}
        there.update(found)
        for old in [other for other in self.names if other < step]:
            del self.names[old]
        return found

    def go_back(self) -> None:
        """Forgets all of them: the training returns to a checkpoint, and what follows is not the same."""
        self.names = {}


def log_former(logger: Logger, former: Iterable[dict[str, float]]) -> None:
    """Logs rows of metrics.csv, which counts the steps that are done; those that the logger has stay as they are."""
    for row in former:
        logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]) - 1)
