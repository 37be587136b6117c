"""The kinds of data that can be trained on, and which of their files belong to which split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from data_modules.action_ids import question
from data_modules.episode_file import SPLITS
from data_modules.episode_reader import EpisodeReader
from data_modules.frame_reader import FrameReader, Reading, ids_of, require_one_kind
from data_modules.minari_data import MinariData
from data_modules.shards import open_shards
from data_modules.splits import split_episodes
from data_modules.stream import Stream
from data_modules.videos import Videos
from genie.common.errors import UserError

Split = tuple[FrameReader, np.ndarray]  # and its episodes int64 [E, 2] of the reader's rows


class Source(Protocol):
    """One kind of data that lies in files.

    what: a file of it, in words. suffixes: what the names of its files end with.
    """

    what: str
    suffixes: tuple[str, ...]

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        """Some files as one reader, which messages call `path`. Raises UserError for what cannot be read."""
        ...


@runtime_checkable
class NamedSource(Protocol):
    """One kind of data of which a data set has one name: an id, an address."""

    def open_named(self, name: str) -> tuple[FrameReader, dict[str, np.ndarray] | None]:
        """The whole data set, and the episodes of each split where it knows them. Raises UserError."""
        ...


class EpisodeFiles:
    """Episode files (`episode_file.py`)."""

    what, suffixes = "episode file", (".h5", ".hdf5")

    def __init__(self, reading: Reading):
        self.reading = reading

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        if len(files) > 1:
            return open_shards(path, files, self.reading)
        reading = self.reading
        return EpisodeReader(files[0], reading.image_size, reading.in_memory, reading.fit, actions=reading.actions)


# data.source -> the source, of how frames are to be given and of the keys of the group data.<source>
SOURCES: dict[str, Callable[[Reading, dict[str, Any]], Source | NamedSource]] = {
    "episodes": lambda reading, options: EpisodeFiles(reading),
    "videos": lambda reading, options: Videos(reading, **options),
    "minari": lambda reading, options: MinariData(reading, **options),
    "stream": lambda reading, options: Stream(reading, **options),
}


def build_source(kind: str, reading: Reading, options: dict[str, dict[str, Any] | None]) -> Source | NamedSource:
    """The source `kind`. options: for the kinds that have some, the keys of their group. Raises UserError for a wrong
    kind, or wrong keys."""
    if kind not in tuple(SOURCES):  # a list cannot be looked up
        raise UserError(f"data.source={kind} is none of {', '.join(SOURCES)}")
    if kind in options and options[kind] is None:
        raise UserError(f"data.source={kind} comes with settings of its own: choose data={kind}")
    return SOURCES[kind](reading, options.get(kind) or {})


def open_splits(
    source: Source | NamedSource, root: str | Path, holdout: float, gap: int, advice: str
) -> dict[str, Split]:
    """The splits of the data set `root`, "train" and "val" at least:

    - a folder with an entry for each split: a file `train.*`, or a folder `train` of files, however deep;
    - one file, a folder of files without such entries, or a data set that is opened by its name and says nothing of
      splits: split by recording (`splits.py`, with its `holdout`, `gap`).

    Raises UserError where there are none, which begins with `advice`, and where their data are not of one kind.
    """
    splits = _found_splits(source, root, holdout, gap, advice)
    readers = list({id(reader): reader for reader, _ in splits.values()}.values())
    require_one_kind(readers)
    question([ids for reader in readers for ids in ids_of(reader)])
    return splits


def _found_splits(
    source: Source | NamedSource, root: str | Path, holdout: float, gap: int, advice: str
) -> dict[str, Split]:
    if isinstance(source, NamedSource):
        reader, cut = source.open_named(str(root))
        cut = cut or split_episodes(reader.episodes, reader.recordings, holdout, gap)
        return {split: (reader, cut[split]) for split in cut}
    root = Path(root)
    parts = {split: _part(source, root, split) for split in SPLITS}
    if not parts["train"] and not parts["val"]:
        files = files_of(source, root)
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
    return {split: (reader, reader.episodes) for split, reader in readers.items()}


def was_split(splits: dict[str, Split]) -> bool:
    """Whether it was `split_episodes` that made these splits of one data set."""
    readers = [reader for reader, _ in splits.values()]
    return len(readers) > 1 and all(r is readers[0] for r in readers) and not hasattr(readers[0], "splits")


def files_of(source: Source | NamedSource | type[Source], root: Path) -> list[Path]:
    """All files of the kind at or below `root`, in the order of their names; none where data sets are no files.

    Hidden ones and what is in hidden folders are no data. A file with several names, which are links, is read once; a
    link to nothing is a file that cannot be read.
    """
    if isinstance(source, NamedSource):
        return []
    if root.is_file():
        return [root]
    found = [path for path in root.rglob("*") if path.suffix.lower() in source.suffixes and _is_data(path)]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    return sorted({_inode(path): path for path in sorted(shown, reverse=True)}.values())  # the first name of each


def _is_data(path: Path) -> bool:
    return path.is_file() or path.is_symlink() and not path.exists()


def _inode(path: Path) -> tuple[int, int]:
    """What two names of one file have in common."""
    try:
        status = path.stat()
    except OSError:  # a link to nothing
        status = path.lstat()
    return status.st_dev, status.st_ino


def _part(source: Source, root: Path, split: str) -> list[Path]:
    """The files of a split that has an entry of its own."""
    files = [root / f"{split}{suffix}" for suffix in source.suffixes if (root / f"{split}{suffix}").is_file()]
    return files[:1] or files_of(source, root / split)
