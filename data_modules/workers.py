"""What a reading process does with signals."""

import os
import signal
import threading


def leave_signals_to_parent(worker: int) -> None:
    """`worker_init_fn`: a signal to the whole group must not kill workers that the trainer still needs.

    Ctrl-C and SIGUSR1 are ignored. SIGTERM ends the worker only if the parent itself sent it, which is how a
    parent that leaves without closing its loaders gets rid of them; ignored, it would wait for them for ever.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
