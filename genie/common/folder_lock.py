"""Folder lock: one writing process at a time.

The lock is `flock` on the file `.lock` in the folder (beside the output where that is a single file), which also names
its holder. The kernel releases it when the process ends, however it ends, so the file that a killed process leaves has
no effect. Child processes do not keep it: started programs do not inherit the file, and forked processes close it at
once. On NFS, Linux turns `flock` into a lock at the server, valid between machines; Lustre needs the mount option
`flock`. Where a file system has no locks, a line on stderr warns of it.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from genie.common.errors import UserError, warn
from genie.common.files import delete

LOCK = ".lock"
GRACE = 0.5  # seconds: a forked process that has not run yet holds the lock of a killed parent
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # from file systems without locks
held: dict[str, IO[str]] = {}  # lock files of this process by real path


@contextmanager
def one_writer(place: str | Path, key: str, wait: bool = False, beside: bool = False) -> Iterator[Path]:
    """Yields the folder `place`, into which no other process writes while the body runs.

    The folder is created, and removed again if it stays empty. A process may enter the same place again. `key`: the
    override that selects another place, as in "output=". `wait`: wait for the other writer instead of raising.
    `beside`: the lock is beside `place`, which may be a file, or a folder that is renamed into place as a whole.
    Raises `UserError` where the place is not writable or another process writes.
    """
    place = Path(place)
    lock = place.with_name(f".{place.name}{LOCK}") if beside else place / LOCK
    made = _make(lock.parent, place, key)
    name = os.path.realpath(lock)
    if name in held:
        yield place
        return
    try:
        held[name] = _taken(lock, place, key, wait)
    except BaseException:
        _remove_empty(made)
        raise
    try:
        yield place
    finally:
        with suppress(OSError):
            lock.unlink()  # while it is held: a process that opened it earlier opens it again
        held.pop(name).close()
        _remove_empty(made)


def require_writable(path: str | Path, key: str) -> None:
    """Raises `UserError` where a file `path` could not be written. Leaves no new folders behind."""
    path = Path(path)
    made = _make(path.parent, path, key)
    probe = path.parent / f".{path.name[:50]}{LOCK}-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with suppress(FileNotFoundError):
            open(path, "r+b").close()
    except OSError as error:
        raise _refused(path, key, error) from error
    finally:
        _remove_empty(made)


def empty(folder: Path) -> None:
    """Deletes the contents of a folder except its lock."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            delete(entry)


def _taken(lock: Path, place: Path, key: str, wait: bool) -> IO[str]:
    """The lock file, locked by this process."""
    waiting, refused_from = False, time.monotonic() + GRACE
    while True:
        try:
            file = open(lock, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _refused(place, key, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
        except BlockingIOError:
            busy = f"{place} is being written by {_holder(file)}"
            file.close()
            if not wait and time.monotonic() < refused_from:
                time.sleep(GRACE / 10)
                continue
            if not wait:
                raise UserError(f"{busy}: wait until it ends, end it, or give another {key}") from None
            print(f"{busy}: waiting for it", file=sys.stderr, flush=True)
            waiting = True
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise _refused(place, key, error) from error
            no_locks = f"the file system of {lock.parent} has no locks ({error.strerror})"
            warn(f"{no_locks}: take care that no second process writes there")
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                _sign(file)
                return file
        file.close()  # its last holder has deleted it in between


def _sign(file: IO[str]) -> None:
    about = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # a full disk: the lock itself needs no room
        file.truncate(0)
        file.write(json.dumps(about) + "\n")
        file.flush()


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        about = json.loads(file.read())
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # the holder has not written it yet
        return "another process"


def _make(folder: Path, place: Path, key: str) -> list[Path]:
    """Creates a folder; returns the folders that did not exist, the innermost first."""
    made: list[Path] = []
    try:
        for path in (folder, *folder.parents):
            if path.exists():
                break
            made.append(path)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(made)
        raise _refused(place, key, error) from error
    return made


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _refused(place: Path, key: str, error: OSError) -> UserError:
    why = "it is a file" if place.is_file() else error.strerror or error
    return UserError(f"cannot write into {place} ({why}): give another {key}")


def _close_in_child() -> None:
    for file in held.values():
        with suppress(OSError):
            os.close(file.fileno())
    held.clear()


os.register_at_fork(after_in_child=_close_in_child)
