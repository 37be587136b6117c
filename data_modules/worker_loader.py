"""Data loader with worker processes that end with their parent, and the handling of damaged data.

Workers ignore signals to the whole process group, since some are still needed then, and record what they read, for the
message about a worker that was killed. Damaged data are reported once a file; the clips in them are counted.
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

from genie.common.errors import EXPLANATIONS, UserError

LONGEST_PATH = 1000  # bytes that are kept of the name of what a process reads
LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? (\d+).*?\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")


class DamagedData(UserError):
    """Frames that cannot be read: `message` names the file and the reason. torch passes an exception of a worker on as
    text, the traceback first; only its last line, the message, is kept."""

    def __init__(self, message: str):
        lines = message.strip().splitlines() or [""]
        super().__init__(lines[-1].removeprefix(f"{__name__}.{type(self).__name__}: "))


class DamageLog:
    """Counts the unreadable clips of all worker processes together, and reports each recording once. recordings: int64
    [E], as a `FrameReader` has them."""

    def __init__(self, recordings: np.ndarray):
        self.clips = torch.zeros(int(recordings.max(initial=0)) + 1, dtype=torch.int64).share_memory_()

    def add(self, recording: int, error: DamagedData) -> None:
        """Counts a clip of a recording that could not be read."""
        self.clips[recording] += 1
        if self.clips[recording] == 1:
            print(f"{error}: other clips take the place of its own", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        """The counts in words; "" where nothing was counted."""
        files = int((self.clips > 0).sum())
        return f"{int(self.clips.sum())} clips of {files} files could not be read and were replaced" if files else ""


class SteadyDataLoader(DataLoader):
    """A `DataLoader` whose workers ignore Ctrl-C and SIGUSR1, and end on SIGTERM only if the parent itself sent it. The
    parent sends it when it exits without closing its loaders; were it ignored, the parent would wait for ever."""

    def __init__(self, *args, num_workers: int = 0, **kwargs) -> None:
        # of each worker: its process id and, as text, what it reads
        self.processes = torch.zeros(num_workers, dtype=torch.int64)
        self.reading = torch.zeros(num_workers, LONGEST_PATH, dtype=torch.uint8)
        if num_workers > 0:
            self.processes.share_memory_()
            self.reading.share_memory_()
        start = functools.partial(_start_worker, processes=self.processes, reading=self.reading)
        super().__init__(*args, num_workers=num_workers, worker_init_fn=start, **kwargs)
        loaders.add(self)

    def __iter__(self):
        if not self.num_workers or not hasattr(signal, "sigwaitinfo"):  # macOS has none
            return super().__iter__()
        # Workers inherit the blocked signals. Blocking them in the worker would be too late: a thread that a library
        # has started there before would still take the signal.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)


loaders: "weakref.WeakSet[SteadyDataLoader]" = weakref.WeakSet()  # of this process
_reading: Tensor | None = None  # in a worker, its row of `reading`


def now_reading(what: object) -> None:
    """Records what this process is about to read, for the message about a killed worker (`lost_worker`)."""
    if _reading is not None:
        text = str(what).encode(errors="replace")[:LONGEST_PATH].ljust(LONGEST_PATH, b"\0")
        _reading.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))


def lost_worker(error: BaseException) -> str | None:
    """One line about torch's error for a killed worker: what it read, and what helps. None for other errors."""
    found = LOST.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    process, cause, file = int(found[1]), found[2] or "", ""
    for loader in list(loaders):
        for number in (loader.processes == process).nonzero():
            file = bytes(loader.reading[int(number)].tolist()).rstrip(b"\0").decode(errors="replace")
    what = f"the process {process} that reads data was killed" + (f" ({cause.strip()})" if cause else "")
    shared = "the shared memory, /dev/shm," if "Bus" in cause else "the memory"
    return (
        f"{what}{f' while it read {file}' if file else ''}: most likely {shared} is full; lower data.num_workers or "
        "data.batch_size, or leave out data.in_memory"
    )


EXPLANATIONS.append(lost_worker)


def _start_worker(worker: int, processes: Tensor, reading: Tensor) -> None:
    global _reading
    processes[worker], _reading = os.getpid(), reading[worker]
    for number in (signal.SIGINT, signal.SIGUSR1):  # signals to the whole group are for the parent
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def num_cpus() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
