"""Kinds of data and their splits into training, validation and test."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from data_modules.action_ids import question
from data_modules.action_numbers import settle_ranges
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.episodes import SPLITS
from data_modules.formats.lerobot import LeRobotData
from data_modules.formats.minari import MinariData
from data_modules.formats.shards import open_shards
from data_modules.formats.stream import ClipStream
from data_modules.formats.videos import Videos
from data_modules.formats.webdataset import TarShards
from data_modules.frame_reader import FrameReader, Reading, ids_of, require_one_kind
from genie.common.errors import UserError

Episodes = dict[str, np.ndarray]  # of each split int64 [E, 2]: first and one past the last frame
HOLDOUTS = [hundredths / 100 for hundredths in range(1, 46)]  # shares that are proposed
BRACES = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")  # numbers in the name of a file
BY_RECORDING = 3  # from so many recordings on, each split gets whole ones
SHORT = 16  # frames; the same for all stages, whatever their clips span, so that all hold out the same


def split_episodes(episodes: np.ndarray, recordings: np.ndarray, holdout: float, gap: int) -> dict[str, np.ndarray]:
    """{"train", "val", "test"}: int64 [E, 2] each; the last two get the share `holdout` each, from the end.

    At least `BY_RECORDING` recordings (`FrameReader.recordings`) are not cut; where nothing but recordings shorter than
    `SHORT` frames would be held out, such as the video of a moment, all of these go to training. Fewer recordings are
    cut by time, and `gap` frames between the parts go unused, since frames on both sides of a cut are nearly the same.
    """
    count = len(set(recordings.tolist()))
    if count >= BY_RECORDING:
        numbers = np.unique(recordings, return_inverse=True)[1]
        longest = np.zeros(count, dtype=np.int64)
        np.maximum.at(longest, numbers, episodes[:, 1] - episodes[:, 0])
        held_out, long = _last(np.arange(count), holdout), np.flatnonzero(longest >= SHORT)
        if len(long) >= BY_RECORDING and any(longest[share].max() < SHORT for share in held_out):
            held_out = _last(long, holdout)
        train = np.setdiff1d(np.arange(count), np.concatenate(held_out))
        parts = [episodes[np.isin(numbers, chosen)] for chosen in (train, *held_out)]
    else:
        first, last = int(episodes[0, 0]), int(episodes[-1, 1])
        held = round((last - first) * holdout)
        cuts = [(first, last - 2 * held - gap), (last - 2 * held, last - held - gap), (last - held, last)]
        clipped = [episodes.clip(start, end) for start, end in cuts]
        parts = [part[part[:, 1] > part[:, 0]] for part in clipped]
    return dict(zip(SPLITS, parts, strict=True))


def _last(recordings: np.ndarray, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """The last but one and the last share of some recordings, one at least."""
    held = min(max(1, round(len(recordings) * holdout)), (len(recordings) - 1) // 2)
    return recordings[-2 * held : -held], recordings[-held:]


@dataclass(frozen=True)
class Wanted:
    """The clips that are asked for; keys of the `data` group."""

    num_frames: int
    stride: int
    holdout: float
    batch_size: int

    @property
    def span(self) -> int:
        """Rows from the first to the last frame of a clip."""
        return (self.num_frames - 1) * self.stride + 1


def why_no_clip(split: str, splits: Episodes, whole: tuple[np.ndarray, np.ndarray] | None, wanted: Wanted) -> str:
    """Why a split has no clip, and values of `data` with which every split has one and training has a batch. whole:
    (episodes, recordings) that `split_episodes` was given; None where the splits have files of their own."""
    longest = {name: _longest(episodes) for name, episodes in splits.items()}
    why = f"its longest episode has {longest[split]}"
    shares, cut, more = [wanted.holdout], lambda holdout, gap: splits, "longer recordings"
    if whole is not None:
        episodes, recordings = whole
        count, frames = len(np.unique(recordings)), int((episodes[:, 1] - episodes[:, 0]).sum())
        by_recording = count >= BY_RECORDING
        shares += HOLDOUTS
        shared = cache(partial(split_episodes, episodes, recordings))
        cut = lambda holdout, gap: shared(holdout, 0 if by_recording else gap)  # noqa: E731
        if by_recording:
            why += f" (of {count} recordings each split has whole ones, by data.holdout={wanted.holdout:g})"
        else:
            lengths = ", ".join(f"{name} {length}" for name, length in longest.items())
            why = (
                f"data.holdout={wanted.holdout:g} cuts {count} recording{'s' * (count > 1)} of {frames} frames, with "
                f"{wanted.span} unused at each cut, so that in a row there are at most: {lengths}"
            )
            more = f"{BY_RECORDING} recordings, which are not cut"
    most = max(longest.values()) if whole is None else _longest(whole[0])
    options = (
        replace(wanted, num_frames=num_frames, holdout=holdout, stride=stride)
        for stride in dict.fromkeys((wanted.stride, 1))
        for num_frames in range(min(wanted.num_frames, most), 1, -1)
        for holdout in shares
    )
    tried = (_fitting(one, cut(one.holdout, one.span)) for one in options)
    fitting = [one for one in tried if one is not None]
    if not fitting:
        return f"{why}, which is too little for clips of two: give {more}"
    best = next((one for one in fitting if one.batch_size == wanted.batch_size), fitting[0])
    keys = [
        key for key in ("num_frames", "stride", "holdout", "batch_size") if getattr(best, key) != getattr(wanted, key)
    ]
    return f"{why}: give {' '.join(f'data.{key}={getattr(best, key):g}' for key in keys)}, or {more}"


def _longest(episodes: np.ndarray) -> int:
    return int((episodes[:, 1] - episodes[:, 0]).max(initial=0))


def _fitting(wanted: Wanted, splits: Episodes) -> Wanted | None:
    """`wanted`, with at most as large a batch as training has clips; None where a split has no clip."""
    if any(_longest(episodes) < wanted.span for episodes in splits.values()):
        return None
    lengths = splits["train"][:, 1] - splits["train"][:, 0]
    clips = int(np.maximum(lengths - wanted.span + 1, 0).sum())
    return replace(wanted, batch_size=min(wanted.batch_size, clips))


Split = tuple[FrameReader, np.ndarray]  # and its episodes int64 [E, 2] of the reader's rows


class Source(Protocol):
    """A kind of data that consists of files. what: the name of such a file in messages. suffixes: of file names."""

    what: str
    suffixes: tuple[str, ...]

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        """One reader of some files, named `path` in messages. Raises UserError for what cannot be read."""
        ...


@runtime_checkable
class NamedSource(Protocol):
    """A kind of data whose data sets are opened by one name: an id or an address."""

    def open_named(self, name: str) -> tuple[FrameReader, dict[str, np.ndarray] | None]:
        """The whole data set, and the episodes of each split where it defines splits. Raises UserError."""
        ...


class EpisodeFiles:
    """Episode files (`formats/episodes.py`)."""

    what, suffixes = "episode file", (".h5", ".hdf5")

    def __init__(self, reading: Reading):
        self.reading = reading

    def open(self, path: Path, files: list[Path]) -> FrameReader:
        if len(files) > 1:
            return open_shards(path, files, self.reading)
        reading = self.reading
        return EpisodeReader(files[0], reading.image_size, reading.in_memory, reading.fit, actions=reading.actions)


Groups = dict[str, dict[str, Any] | None]  # keys of data.videos, data.minari, …, None where a group has none

# data.source -> (the groups of its keys, the source from how frames are read and these keys)
SOURCES: dict[str, tuple[tuple[str, ...], Callable[..., Source | NamedSource]]] = {
    "episodes": ((), EpisodeFiles),
    "videos": (("videos",), lambda reading, videos: Videos(reading, **videos)),
    "webdataset": (
        ("videos", "webdataset"),
        lambda reading, videos, shards: TarShards(reading, Videos(reading, **videos), **shards),
    ),
    "lerobot": (("lerobot",), lambda reading, options: LeRobotData(reading, **options)),
    "minari": (("minari",), lambda reading, options: MinariData(reading, **options)),
    "stream": (("stream",), lambda reading, options: ClipStream(reading, **options)),
}
IN_RANGE = ("episodes", "minari", "stream")  # sources whose numbers are in [-1, 1] as they are, or that have none


def build_source(kind: str, reading: Reading, groups: Groups) -> Source | NamedSource:
    """The source `kind`. Raises UserError where its keys are missing or wrong."""
    names, build = SOURCES[kind]
    found = [groups.get(name) for name in names]
    if None in found:
        raise UserError(f"data.source={kind} comes with settings of its own: choose data={kind}")
    if kind in IN_RANGE and reading.actions.changes_numbers:
        raise UserError(
            f"data.actions.range and change are for numbers in units of their own: those of data.source={kind} are in "
            "[-1, 1]"
        )
    return build(reading, *found)


def open_splits(
    source: Source | NamedSource, root: str | Path, holdout: float, gap: int, advice: str
) -> dict[str, Split]:
    """The splits of the data set `root`, "train" and "val" at least:

    - a folder with an entry for each split: a file `train.*`, or a folder `train` with files at any depth;
    - one file, a folder of files without such entries, or a data set opened by its name that defines no splits:
      split by `split_episodes` with `holdout` and `gap`.

    Raises UserError, which begins with `advice`, where there are none, and UserError where their data are not of one
    kind.
    """
    splits = _found_splits(source, root, holdout, gap, advice)
    readers = list({id(reader): reader for reader, _ in splits.values()}.values())
    require_one_kind(readers)
    question([ids for reader in readers for ids in ids_of(reader)])
    recorded = [getattr(reader, "actions", None) for reader in readers]
    settle_ranges([one.numbers for one in recorded if one is not None and one.numbers is not None])
    return splits


def _found_splits(
    source: Source | NamedSource, root: str | Path, holdout: float, gap: int, advice: str
) -> dict[str, Split]:
    if isinstance(source, NamedSource):
        reader, cut = source.open_named(str(root))
        cut = cut or split_episodes(reader.episodes, reader.recordings, holdout, gap)
        if "train" not in cut or not len(cut["train"]):
            raise UserError(f"{reader.path} has no episodes to train on in its splits {', '.join(cut)}")
        if "val" not in cut:  # the end of what is for training
            count = max(1, round(len(cut["train"]) * holdout))
            cut = cut | {"train": cut["train"][:-count], "val": cut["train"][-count:]}
        return {split: (reader, cut[split]) for split in cut}
    root = Path(root)
    parts = {split: part_files(source, root, split) for split in SPLITS}
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
        if not advice and not root.exists():
            more = nearest(root) or f": {kinds} are needed"
            raise UserError(f"data.root={root}: there is no such file or folder{more}")
        way = f"give data.root=, a folder with train{suffix} and val{suffix}, or other {kinds}, which are then split"
        raise UserError(f"there is no {' and no '.join(missing)}: {advice}{way}")
    readers = {
        split: source.open(files[0] if len(files) == 1 else root / split, files)
        for split, files in parts.items()
        if files
    }
    return {split: (reader, reader.episodes) for split, reader in readers.items()}


def nearest(path: Path) -> str:
    """The name beside a path that is most like it, as a question; "" for none."""
    names = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    found = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {path.with_name(found[0])}?" if found else ""


def was_split(splits: dict[str, Split]) -> bool:
    """Whether `split_episodes` made these splits of one data set."""
    readers = [reader for reader, _ in splits.values()]
    return len(readers) > 1 and all(r is readers[0] for r in readers) and not hasattr(readers[0], "splits")


def files_of(source: Source | NamedSource | type[Source], root: Path) -> list[Path]:
    """All files of the kind at or below `root`, sorted by name, or those of a pattern (`numbers_in_braces`); none for
    sources that are opened by name.

    Hidden files and folders are left out. A file with several names (links) is read once, by the first of them; a
    broken link is a file that cannot be read.
    """
    if isinstance(source, NamedSource):
        return []
    if root.is_file():
        return [root]
    if root.suffix.lower() in source.suffixes and (numbered := numbers_in_braces(root)):
        return numbered
    found = [path for path in root.rglob("*") if path.suffix.lower() in source.suffixes and _is_data(path)]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    return sorted({_inode(path): path for path in sorted(shown, reverse=True)}.values())  # the first name of each


def files_behind(source: Source | NamedSource, root: Path) -> list[Path]:
    """All files that the data at `root` are read from, where the source knows them: those of `files_of`, and of its
    `more_files(root, files)`, such as recorded actions beside videos."""
    files = files_of(source, root)
    more = getattr(source, "more_files", None)
    return files if more is None else [*files, *more(root, files)]


def numbers_in_braces(pattern: Path) -> list[Path]:
    """The paths of a pattern such as `shard-{000..099}.tar`; none for a name without such braces."""
    match = BRACES.fullmatch(pattern.name)
    if match is None:
        return []
    before, first, last, after = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [pattern.with_name(f"{before}{number:0{len(first)}}{after}") for number in numbers]


def _is_data(path: Path) -> bool:
    return path.is_file() or path.is_symlink() and not path.exists()


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # a broken link
        status = path.lstat()
    return status.st_dev, status.st_ino


def part_files(source: Source | type[Source], root: Path, split: str) -> list[Path]:
    """The files of a split that has an entry of its own."""
    files = [root / f"{split}{suffix}" for suffix in source.suffixes if (root / f"{split}{suffix}").is_file()]
    return files[:1] or files_of(source, root / split)
