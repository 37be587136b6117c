"""Index of tar shards in the layout of WebDataset: where the files of each sample lie, so that none is extracted.

A sample is a run of files with one key, the name up to the first dot after the last slash: `a/0001.mp4` and
`a/0001.json` are the files "mp4" and "json" of the sample "a/0001". To find them, the headers of a shard are read once;
an entry holds for a path, a size and a modification time.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from data_modules.formats.index_file import locked, stamp_of
from data_modules.formats.video_file import TarMember
from genie.common.errors import reason
from genie.common.files import read_json, replacing

NAME = "webdataset-1"  # of the index, with the version of its entries' meaning
BLOCK = 512  # bytes: a tar is made of blocks, and ends with empty ones
KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
PACKED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Sample:
    """files: by what is after the key and its dot in their names, in lower case."""

    key: str
    files: dict[str, TarMember]


def index_shards(folder: Path, shards: list[Path]) -> dict[Path, list[Sample] | str]:
    """The samples of each of `shards`, which are below `folder`; for a damaged one, the problem."""
    keys = {path: path.relative_to(folder).as_posix() for path in shards}
    try:
        with locked(folder, NAME) as place:
            place = place.with_suffix(".json")
            known = read_json(place) or {}
            entries = _entries(keys, known)
            kept = {key: entry for key, entry in known.items() if key not in entries and (folder / key).exists()}
            if entries | kept != known:
                with replacing(place, "w") as file:
                    json.dump(entries | kept, file)
    except OSError:  # no place for an index is writable
        entries = _entries(keys, {})
    return {path: entries[key]["problem"] or _samples(path, entries[key]["members"]) for path, key in keys.items()}


def _entries(keys: dict[Path, str], known: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Entries by their keys: known ones where the file is the same, others looked at."""
    stamps = {path: list(stamp_of(path)) for path in keys}
    new = [path for path, key in keys.items() if (known.get(key) or {}).get("stamp") != stamps[path]]
    found = {}
    for path in track(new, "looking at shards", disable=len(new) < 2):
        try:
            found[keys[path]] = {"stamp": stamps[path], "problem": "", "members": list(_members(path))}
        except (OSError, ValueError, tarfile.TarError) as error:
            found[keys[path]] = {"stamp": stamps[path], "problem": reason(error), "members": []}
    return {key: found.get(key) or known[key] for key in keys.values()}


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of the files in a tar. Raises ValueError for one that ends early or is none."""
    size, end = path.stat().st_size, 0
    with open(path, "rb") as file:
        start = file.read(6)
        packed = next((name for magic, name in PACKED.items() if start.startswith(magic)), None)
        if packed:
            raise ValueError(f"it is packed with {packed}, and clips are read from any place: unpack it")
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    end = member.offset_data + (member.size if member.isreg() else 0)
                    if end > size:
                        raise ValueError(f"it ends within {member.name}")
                    if member.isreg() and member.sparse is None:
                        yield member.name, member.offset_data, member.size
        except tarfile.ReadError as error:
            what = "it is empty" if size == 0 else "it is no tar" if end == 0 else "it ends early"
            raise ValueError(what) from error
        file.seek(-(-end // BLOCK) * BLOCK)
        if file.read(BLOCK) != bytes(BLOCK):
            raise ValueError("it ends early, or is damaged: no empty blocks come after its last file")


def _samples(path: Path, members: list[tuple[str, int, int]]) -> list[Sample] | str:
    """The samples of a shard, or the problem."""
    samples: list[Sample] = []
    for name, offset, size in members:
        match = KEY.fullmatch(name)
        if match is None or name.rpartition("/")[2].startswith("__"):  # WebDataset's own are `__…__`
            continue
        key, kind = match[1], match[2].lower()
        if not samples or samples[-1].key != key:
            samples.append(Sample(key, {}))
        if kind in samples[-1].files:
            return f"{key}.{kind} is there twice"
        samples[-1].files[kind] = TarMember(path, offset, size, name)
    keys = [sample.key for sample in samples]
    if len(set(keys)) < len(keys):
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        return f"the files of {twice} are not one after the other"
    return samples if samples else "it holds no sample: files such as 0001.mp4 and 0001.json"
