"""Folder lock: one writer at a time.

A folder has one writer: a lock that a second process runs into before it touches anything.

The lock is `flock` on the file `.lock` in the folder (beside the file, where it is one file that is written), which
also says who has it. The kernel drops it when the process ends, however it ends, so a killed process leaves a file that
means nothing. Children do not keep it alive: programs that are started do not inherit the file, and forked ones close
it at once. On NFS Linux makes of `flock` a lock at the server, which holds between machines; Lustre needs the mount
option `flock`. Where a file system has no locks, a line on stderr says that nothing watches.
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from genie.common.errors import UserError

LOCK = ".lock"
GRACE = 0.5  # seconds: a process that was forked and did not yet run holds the lock of a killed parent
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what file systems without them answer
held: dict[str, IO[str]] = {}  # of this process, by the real path of the lock


@contextmanager
def one_writer(place: str | Path, key: str, wait: bool = False, beside: bool = False) -> Iterator[Path]:
    """While the body runs, no other process writes into the folder `place`; yields it.

    It is made, and is removed again if nothing came into it. A process may enter the same place again. `key`: what
    gives another place, as in "output=". `wait`: until the other writer is done, instead of an error. `beside`: the
    lock is beside `place`, which may be a file, or a folder that comes into being as a whole.
    Raises `UserError` where nothing can be written, and where another process writes.
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
            lock.unlink()  # while it is held: who opened it before looks again
        held.pop(name).close()
        _remove_empty(made)


def require_writable(path: str | Path, key: str) -> None:
    """Raises `UserError` where a file `path` could not be written. What had to be made for it is removed again."""
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
    """Deletes what is in a folder, but for its lock."""
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _taken(lock: Path, place: Path, key: str, wait: bool) -> IO[str]:
    """The lock file, locked by this process."""
    told, refused_from = False, time.monotonic() + GRACE
    while True:
        try:
            file = open(lock, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _refused(place, key, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if told else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            if not wait and time.monotonic() < refused_from:
                time.sleep(GRACE / 10)
                continue
            if not wait:
                raise UserError(
                    f"{place} is being written by {holder}: wait until it ends, end it, or give another {key}"
                ) from None
            print(f"{place} is being written by {holder}: waiting for it", file=sys.stderr, flush=True)
            told = True
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise _refused(place, key, error) from error
            print(
                f"WARNING: the file system of {lock.parent} has no locks ({error.strerror}): take care that no second "
                "process writes there",
                file=sys.stderr,
                flush=True,
            )
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
        about: dict[str, Any] = json.loads(file.read())
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is about to sign
        return "another process"


def _make(folder: Path, place: Path, key: str) -> list[Path]:
    """Makes a folder; those that were not there, the innermost first."""
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
