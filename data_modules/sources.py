"""The kinds of data that can be trained on, and which of their files belong to which split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_modules.episode_file import SPLITS
from data_modules.episode_reader import EpisodeReader
from data_modules.frame_reader import FrameReader, JoinedReaders, Reading, require_same
from data_modules.splits import split_episodes
from data_modules.videos import Videos
from genie.errors import UserError

Split = tuple[FrameReader, np.ndarray]  # and its episodes int64 [E, 2] of the reader's rows


class Source(Protocol):
    """One kind of data.

    what: a file of it, in words. suffixes: what the names of its files end with.
    """

    what: str
    suffixes: tuple[str, ...]

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        """Some files as one reader, which messages call `path`. Raises UserError for what cannot be read."""
        ...


class EpisodeFiles:
    """Episode files (`episode_file.py`), resized to `image_size` (H, W), or held in RAM as they are."""

    what, suffixes = "episode file", (".h5", ".hdf5")

    def __init__(self, image_size: tuple[int, int], in_memory: bool, fit: str = "squeeze"):
        self.image_size, self.in_memory, self.fit = image_size, in_memory, fit

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        readers = [EpisodeReader(file, self.image_size, self.in_memory, self.fit) for file in files]
        return readers[0] if len(readers) == 1 else JoinedReaders(path, readers)


# data.source -> the source, of how frames are to be given and of the keys of the group data.<source>
SOURCES: dict[str, Callable[[Reading, dict[str, Any]], Source]] = {
    "episodes": lambda reading, options: EpisodeFiles(reading.image_size, reading.in_memory, reading.fit),
    "videos": lambda reading, options: Videos(reading, **options),
}


def build_source(kind: str, reading: Reading, options: dict[str, dict[str, Any] | None]) -> Source:
    """The source `kind`. options: for the kinds that have some, the keys of their group. Raises UserError for a wrong
    kind, or wrong keys."""
    if kind not in SOURCES:
        raise UserError(f"data.source={kind} is none of {', '.join(SOURCES)}")
    if kind in options and options[kind] is None:
        raise UserError(f"data.source={kind} comes with settings of its own: choose data={kind}")
    return SOURCES[kind](reading, options.get(kind) or {})


def open_splits(source: Source, root: Path, holdout: float, gap: int, advice: str) -> dict[str, Split]:
    """The splits below `root`, "train" and "val" at least:

    - a folder with an entry for each split: a file `train.*`, or a folder `train` of files, however deep;
    - one file, or a folder of files without such entries: split by recording (`splits.py`, with its `holdout`, `gap`).

    Raises UserError where there are none; it begins with `advice`.
    """
    parts = {split: _part(source, root, split) for split in SPLITS}
    if not parts["train"] and not parts["val"]:
        files = [root] if root.is_file() else _files(source, root)
        if files:
            reader = source.open(root, files)
            cut = split_episodes(reader.episodes, reader.recordings, holdout, gap)
            return {split: (reader, cut[split]) for split in SPLITS}
    suffix = source.suffixes[0]
    missing = [str(root / f"{split}{suffix}") for split in ("train", "val") if not parts[split]]
    if missing:
        kinds = f"{source.what}s ({', '.join(source.suffixes)})"
        way = f"give data.root=, a folder with train{suffix} and val{suffix}, or other {kinds}, which are then split"
        raise UserError(f"there is no {' and no '.join(missing)}: {advice}{way}")
    readers = {}
    for split, files in parts.items():
        if files:
            readers[split] = source.open(files[0] if len(files) == 1 else root / split, files)
    for reader in readers.values():
        require_same(readers["train"], reader, "columns")
    return {split: (reader, reader.episodes) for split, reader in readers.items()}


def _part(source: Source, root: Path, split: str) -> list[Path]:
    """The files of a split that has an entry of its own."""
    files = [root / f"{split}{suffix}" for suffix in source.suffixes if (root / f"{split}{suffix}").is_file()]
    return files[:1] or _files(source, root / split)


def _files(source: Source, folder: Path) -> list[Path]:
    """All files of the kind below a folder, in the order of their names; hidden ones and what is in hidden folders are
    no data."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in source.suffixes and path.is_file()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(shown)
