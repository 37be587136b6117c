"""Loader whose workers end with their parent, and data that cannot be read.

Data that are there and cannot be read: one line, and what happens to the clips that they would have been in.

Processes that read: how many there may be, that a signal to a whole group does not kill those still needed, and what
one of them was reading that was killed.
"""

import functools
import os
import re
import signal
import sys
import threading
import weakref

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

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


LONGEST_PATH = 1000  # bytes that are kept of what a process reads
LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+).*?\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")


class SteadyDataLoader(DataLoader):
    """A `DataLoader` whose workers ignore Ctrl-C and SIGUSR1, and end on SIGTERM only if the parent itself sent it.

    The parent sends it when it leaves without closing its loaders; ignored, it would wait for them for ever.
    """

    def __init__(self, *args, num_workers: int = 0, **kwargs) -> None:
        # of each process: its number and, as text, what it reads
        self.processes = torch.zeros(num_workers, dtype=torch.int64)
        self.reading = torch.zeros(num_workers, LONGEST_PATH, dtype=torch.uint8)
        if num_workers > 0:
            self.processes.share_memory_()
            self.reading.share_memory_()
        start = functools.partial(start_worker, processes=self.processes, reading=self.reading)
        super().__init__(*args, num_workers=num_workers, worker_init_fn=start, **kwargs)
        loaders.add(self)

    def __iter__(self):
        if not self.num_workers or not hasattr(signal, "sigwaitinfo"):  # macOS has none
            return super().__iter__()
        # Workers inherit what is blocked here. Later would be too late: a library's thread that came up in the worker
        # before would still take the signal.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)


loaders: "weakref.WeakSet[SteadyDataLoader]" = weakref.WeakSet()  # of this process
_reading: Tensor | None = None  # of this process, where it is one of a loader's


def now_reading(what: object) -> None:
    """Notes what this process is about to read, for the message that it was killed (`lost_worker`)."""
    if _reading is not None:
        text = str(what).encode(errors="replace")[:LONGEST_PATH].ljust(LONGEST_PATH, b"\0")
        _reading.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))


def lost_worker(error: BaseException) -> str | None:
    """Of torch's error for a loader's process that has died, one line: what it read, and what helps. Else None."""
    found = LOST.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    process, cause, file = int(found[1]), found[2] or "", ""
    for loader in list(loaders):
        for number in (loader.processes == process).nonzero():
            file = bytes(loader.reading[number.item()].tolist()).rstrip(b"\0").decode(errors="replace")
    what = f"the process {process} that reads data was killed" + (f" ({cause.strip()})" if cause else "")
    shared = "the shared memory, /dev/shm," if "Bus" in cause else "the memory"
    return (
        f"{what}{f' while it read {file}' if file else ''}: most likely {shared} is full; lower data.num_workers or "
        "data.batch_size, or leave out data.in_memory"
    )


def start_worker(worker: int, processes: Tensor, reading: Tensor) -> None:
    """`worker_init_fn` of `SteadyDataLoader`."""
    global _reading
    processes[worker], _reading = os.getpid(), reading[worker]
    leave_signals_to_parent()


def leave_signals_to_parent() -> None:
    """In a process of a loader: what is sent to the whole group is for the parent."""
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def num_cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
