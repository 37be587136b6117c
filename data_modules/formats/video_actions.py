"""Recorded actions of several videos, one for each row, in one kind: ids, numbers, or names made ids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_modules.action_ids import ActionOptions, StoredNames
from data_modules.formats.action_log import ActionLog
from data_modules.recorded_actions import RecordedActions
from genie.common.errors import UserError

KINDS = {"i": "ids", "f": "numbers", "U": "names"}  # of a log's values


@dataclass(frozen=True)
class VideoActions:
    """log: of a video. rows: int64 [n], of each row of the video the number of its action in the log."""

    log: ActionLog
    rows: np.ndarray


def recorded_actions(
    path: Path, videos: list[VideoActions], episodes: np.ndarray, options: ActionOptions
) -> RecordedActions:
    """The actions of all rows of some videos, in order. Raises UserError where their actions are not of one kind."""
    logs = [video.log for video in videos]
    kinds = {log.values.dtype.kind for log in logs}
    names = None
    if "U" in kinds:
        if "f" in kinds:
            _refuse(logs, "U", "f")
        texts = [log.values.astype(np.str_) for log in logs]
        names = sorted(set().union(*(set(text.tolist()) for text in texts)))
        values = [np.searchsorted(names, text) for text in texts]
    elif "f" in kinds:
        values = [log.values.reshape(len(log.values), -1).astype(np.float32) for log in logs]
        for one, other in zip(logs, values, strict=True):
            if other.shape[1] != values[0].shape[1] or one.numbers != logs[0].numbers:
                raise UserError(
                    f"{logs[0].source} has actions of {_described(logs[0])}, and {one.source} of {_described(one)}: "
                    "give all the same"
                )
        names = logs[0].numbers
    else:
        values = [log.values for log in logs]
    rows = np.concatenate([value[video.rows] for value, video in zip(values, videos, strict=True)])
    size = rows.shape[1] if rows.ndim == 2 else None
    return RecordedActions(path, _Rows(rows), size, episodes, StoredNames(names), options)


@dataclass(frozen=True)
class _Rows:
    """Rows in memory. Can be sent to worker processes."""

    values: np.ndarray

    def __call__(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]


def _refuse(logs: list[ActionLog], *kinds: str) -> None:
    one, other = (next(log for log in logs if log.values.dtype.kind == kind) for kind in kinds)
    raise UserError(
        f"actions in {one.source} are {KINDS[kinds[0]]}, and in {other.source} {KINDS[kinds[1]]}: give all the same"
    )


def _described(log: ActionLog) -> str:
    count = log.values.shape[1] if log.values.ndim == 2 else 1
    return f"{count} number{'s' * (count > 1)}" + (f" ({', '.join(log.numbers)})" if log.numbers else "")
