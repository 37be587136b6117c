"""Checkpoints on disk: atomic, verified, pruned to the newest few.

    checkpoints/
      step-000001500.ckpt    the newest states, by optimizer steps done
      step-000001000.ckpt
      last.ckpt              the newest one under the name that later stages use: a link, nothing is stored twice
      best.ckpt

A checkpoint is one file of `torch.save`, a zip whose entries have CRC-32s that `torch.load` does not check, or a folder
of the same name that several processes wrote, with a manifest.json of the size and CRC-32 of each file, written last.
"""

import json
import os
import re
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch

from genie.common.errors import UserError, reason
from genie.common.files import TEMPORARY, replacing, sync

LAST, BEST, MANIFEST = "last.ckpt", "best.ckpt", "manifest.json"
STEP = re.compile(r"step-(\d+)\.ckpt")
CHUNK = 2**22  # bytes read at once


def step_path(folder: Path, step: int) -> Path:
    """The path of the state after `step` optimizer steps."""
    return folder / f"step-{step:09}.ckpt"


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def kept(folder: Path) -> list[Path]:
    """The checkpoints of single steps, the newest first."""
    return sorted((path for path in folder.glob("step-*.ckpt") if STEP.fullmatch(path.name)), key=step_of, reverse=True)


def publish(temporary: Path, final: Path) -> None:
    """Gives a checkpoint that was written beside `final` under a temporary name its final name, durably.

    At any moment, also after a power cut, `final` is the former checkpoint or this one. A folder cannot replace another
    atomically: it gets a name of its own, and `final` is a symbolic link to it.
    """
    former = _home(final)
    if temporary.is_dir():
        home = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
        os.replace(temporary, home)
        _link(os.symlink, home.name, final)
    else:
        sync(temporary)
        _take_name(temporary, final)
    sync(final.parent)
    if former is not None:
        shutil.rmtree(former, ignore_errors=True)


def write_manifest(folder: Path) -> None:
    """Writes manifest.json of a folder that is otherwise complete, after syncing everything in it."""
    files = _files(folder)
    for path in [*files.values(), *{path.parent for path in files.values()}]:
        sync(path)
    entries = {name: {"bytes": path.stat().st_size, "crc32": _crc32(path)} for name, path in files.items()}
    with replacing(folder / MANIFEST, "w") as file:
        json.dump(entries, file, indent=1)


def keep_as_last(path: Path, keep: int) -> None:
    """Makes last.ckpt another name of the checkpoint `path` beside it, and deletes all but the `keep` newest."""
    last = path.with_name(LAST)
    name_also(path, last)
    for old in kept(path.parent)[keep:]:
        if not old.samefile(last):
            remove(old)


def name_also(path: Path, name: Path) -> None:
    """Gives the checkpoint `path` a second name in its folder, replacing the former holder of that name."""
    if name.exists() and name.samefile(path):
        return
    try:
        if path.is_dir():
            _link(os.symlink, os.readlink(path) if path.is_symlink() else path.name, name)
        else:
            _link(os.link, path, name)
    except OSError:  # a file system without links
        with replacing(name) as copy, open(path, "rb") as file:
            shutil.copyfileobj(file, copy, CHUNK)
    sync(path.parent)


def remove(path: Path) -> None:
    home = _home(path)
    if home is None and path.is_dir():
        home = _set_aside(path)
    path.unlink(missing_ok=True)
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)


def remove_orphans(folder: Path) -> None:
    """Deletes folders of shards that no link points to, left by a process that was killed while publishing them."""
    named = {_home(path) for path in folder.iterdir() if path.is_symlink()}
    for home in folder.glob(".*.ckpt.*"):
        if home.is_dir() and home not in named:
            shutil.rmtree(home, ignore_errors=True)


def verify(path: Path) -> None:
    """Raises UserError where a checkpoint is missing or any byte of its contents has changed.

    Reads everything once; `python -m benchmarks.torture --cost` prints the seconds per gigabyte.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}")
    try:
        wrong = _wrong_in_folder(path) if path.is_dir() else _wrong_in_file(path)
    except Exception as error:  # readers of damaged zips and manifests raise anything
        wrong = reason(error)[:120]
    if wrong:
        raise UserError(f"{path} is not a checkpoint of this project or is damaged ({wrong})")


def newest_whole(folder: Path, damaged: Callable[[Path, str], None] = lambda path, message: None) -> Path | None:
    """The newest intact checkpoint of a run: last.ckpt, or the newest of the kept ones; None where there is none.

    `damaged(path, message)` is called for each one skipped.
    """
    seen = []
    for path in [folder / LAST, *kept(folder)]:
        if not path.exists() or any(path.samefile(other) for other in seen):
            continue
        seen.append(path)
        try:
            verify(path)
        except UserError as error:
            damaged(path, str(error))
        else:
            return path
    return None


def _home(path: Path) -> Path | None:
    return path.parent / os.readlink(path) if path.is_symlink() else None


def _link(make: Callable, target: str | Path, name: Path) -> None:
    temporary = name.with_name(f".{name.name}{TEMPORARY}{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        make(target, temporary)
        _take_name(temporary, name)
    finally:
        temporary.unlink(missing_ok=True)


def _take_name(temporary: Path, name: Path) -> None:
    """`os.replace`, also over a folder: in a copied run, links may have become what they point to."""
    aside = _set_aside(name) if name.is_dir() and not name.is_symlink() else None
    os.replace(temporary, name)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    aside = folder.with_name(f".{folder.name}{TEMPORARY}former-{os.getpid()}")
    os.replace(folder, aside)
    return aside


def _wrong_in_file(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        # `torch.save` compresses nothing: entries that claim to be larger than the file would only fill the memory
        if any(entry.compress_type for entry in entries) or sum(e.file_size for e in entries) > path.stat().st_size:
            return "its entries are compressed or larger than the file"
        for entry in entries:
            with archive.open(entry) as contents:
                while contents.read(CHUNK):  # raises at the end where the CRC-32 differs
                    pass
    torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # stricter about the bytes between the entries
    return None


def _wrong_in_folder(folder: Path) -> str | None:
    if not (folder / MANIFEST).is_file():
        return f"it has no {MANIFEST}, so it was not written to its end"
    files = _files(folder)
    for name, entry in json.loads((folder / MANIFEST).read_text()).items():
        if name not in files:
            return f"{name} is missing"
        if files[name].stat().st_size != entry["bytes"] or _crc32(files[name]) != entry["crc32"]:
            return f"{name} has changed"
    return None


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths if path != folder / MANIFEST}


def _crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value
