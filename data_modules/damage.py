"""Data that are there and cannot be read: one line, and what happens to the clips that they would have been in."""

import sys

import numpy as np
import torch

from genie.common.errors import UserError

ON_ERROR = ("skip", "raise")


class DamagedData(UserError):
    """Frames cannot be read: `message` says of which file and why.

    torch hands an exception of a worker on as text, the traceback first: what is kept is its last line, the message.
    """

    def __init__(self, message: str):
        lines = message.strip().splitlines() or [""]
        super().__init__(lines[-1].removeprefix(f"{__name__}.{type(self).__name__}: "))


class DamageLog:
    """Counts the clips that could not be read, for all worker processes together, and says each file once.

    recordings: int64 [E], as a `FrameReader` has them.
    """

    def __init__(self, recordings: np.ndarray):
        self.clips = torch.zeros(int(recordings.max(initial=0)) + 1, dtype=torch.int64).share_memory_()

    def add(self, recording: int, error: DamagedData) -> None:
        """A clip of a recording could not be read."""
        self.clips[recording] += 1
        if self.clips[recording] == 1:
            print(f"{error}: other clips take the place of its own", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        """What was counted, in words; nothing where nothing was."""
        files = int((self.clips > 0).sum())
        return f"{int(self.clips.sum())} clips of {files} files could not be read and were replaced" if files else ""
