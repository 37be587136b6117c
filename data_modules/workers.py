"""Processes that read: how many there may be, and that a signal to a whole group does not kill those still needed."""

import os
import signal
import threading

from torch.utils.data import DataLoader


class SteadyDataLoader(DataLoader):
    """A `DataLoader` whose workers ignore Ctrl-C and SIGUSR1, and end on SIGTERM only if the parent itself sent it.

    The parent sends it when it leaves without closing its loaders; ignored, it would wait for them for ever.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, worker_init_fn=leave_signals_to_parent, **kwargs)

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


def leave_signals_to_parent(worker: int) -> None:
    """`worker_init_fn` of `SteadyDataLoader`."""
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
