"""Rank of this process, from the environment (torchrun, SLURM or the launcher); imports no torch."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from genie.common.errors import SilentExit

# environment variables of a process that another one has started: the parent's process id, the number of its training
PARENT, TRAINING = "GENIE_PARENT", "GENIE_TRAINING"
PR_SET_PDEATHSIG = 1  # of prctl(2)


def rank() -> int:
    """The number of this process among those of one command, 0 for the only one.

    Set by torchrun and SLURM. For processes that the command itself started it is their number on their machine (or
    that of the machine), enough to identify the first one.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"])
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return int(os.environ.get("SLURM_PROCID", 0))
    return int(os.environ.get("NODE_RANK", 0)) or int(os.environ.get("LOCAL_RANK", 0))


def first_here() -> bool:
    """Whether this is the first process of the command on its machine."""
    local = os.environ.get("LOCAL_RANK") or (os.environ.get("SLURM_LOCALID") if rank() else None)
    return int(local or 0) == 0


@contextmanager
def on_first_rank() -> Iterator[None]:
    """Around code that fails in all processes of a machine alike: the first one raises, the others exit silently."""
    try:
        yield
    except Exception as error:
        if first_here():
            raise
        raise SilentExit("said by the first process of this machine") from error


def end_with_parent() -> None:
    """In a process that another one has started: makes the kernel end it together with its parent."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit(1)
