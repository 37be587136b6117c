"""What is to be converted: every recording of a data set, and which of its rows go to which split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_modules.clip_data import ClipData
from data_modules.frame_reader import FrameReader, episodes_at
from data_modules.sources import Split, files_of
from genie.common.errors import UserError

ALL = "all"  # the split of an output that is one file

# Keys of the group `data` that say how clips are read in training: frames are the same with other values of them.
OF_CLIPS = (
    "name", "num_frames", "stride", "batch_size", "val_batch_size", "val_clips", "num_workers", "in_memory", "seed",
    "recorder", "on_error", "augmentation", "quality", "min_quality", "quality_splits",
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One recording. `number`: counted over all. `reader`: number of its reader. `episodes`: (first row, one past the
    last row) of each."""

    number: int
    split: str
    reader: int
    episodes: tuple[tuple[int, int], ...]

    @property
    def num_frames(self) -> int:
        return sum(end - first for first, end in self.episodes)


@dataclass(frozen=True)
class Plan:
    """`readers` and the recordings in them, in the order in which they are written. `fps`: of all.

    `identity`: what the frames depend on, such that JSON can hold it; a conversion goes on where it is the same.
    """

    readers: list[FrameReader]
    recordings: list[Recording]
    fps: float
    identity: dict[str, Any]

    @property
    def files(self) -> set[Path]:
        """All files that are read, in full."""
        return {Path(path) for path, _, _ in self.identity["files"]}


def make_plan(data: dict[str, Any], in_one: bool) -> Plan:
    """The plan for a group `data`. `in_one`: without splits, since the output is one file.

    Raises UserError where the data cannot be read.
    """
    module = ClipData(**data)
    if module.augmentation.active or module.good.min_quality is not None:
        key = "augmentation" if module.augmentation.active else "min_quality"
        raise UserError(f"data.{key} is for training: a conversion writes every frame as it is, so leave it out here")
    splits = module.open()
    readers: list[FrameReader] = []
    for reader, _ in splits.values():
        if not any(reader is known for known in readers):
            readers.append(reader)
    if in_one:
        splits = {f"{ALL} {number}": (reader, reader.episodes) for number, reader in enumerate(readers)}
    empty = [split for split, (_, episodes) in splits.items() if not len(episodes)]
    if empty:
        way = "give output=<name>.h5, one file, which is split when it is trained on, or another data.holdout"
        raise UserError(
            f"data.holdout={module.holdout:g} of {readers[0].num_frames} frames leaves nothing for {empty[0]}: {way}"
        )
    recordings: list[Recording] = []
    for split, part in splits.items():
        number = next(number for number, reader in enumerate(readers) if reader is part[0])
        for episodes in _by_recording(part):
            recordings.append(Recording(len(recordings), ALL if in_one else split, number, episodes))
    fps = readers[0].fps or module.fps
    if fps is None:
        raise UserError(f"{readers[0].path} does not say its frames per second: give data.fps=")
    settings = {key: value for key, value in data.items() if key not in OF_CLIPS}
    rows = [[recording.split, recording.reader, recording.episodes] for recording in recordings]
    return Plan(readers, recordings, fps, {"data": settings, "files": _stamps(module), "rows": rows})


def _by_recording(part: Split) -> list[tuple[tuple[int, int], ...]]:
    """The episodes of each recording of a split."""
    reader, episodes = part
    places = episodes_at(reader, episodes[:, 0])
    found: dict[int, list[tuple[int, int]]] = {}
    for recording, (first, end) in zip(reader.recordings[places].tolist(), episodes.tolist(), strict=True):
        found.setdefault(recording, []).append((first, end))
    return [tuple(episodes) for episodes in found.values()]


def _stamps(module: ClipData) -> list[list]:
    """Path, size and time of change of every file that is read."""
    root = Path(module.root).resolve()
    files = [root] if root.is_file() else files_of(module.source, root)
    return [[str(path), *_stamp(path)] for path in files]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # a link to nothing, which is left out
        return 0, 0
    return status.st_size, status.st_mtime_ns
