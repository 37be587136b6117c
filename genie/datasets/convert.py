"""Conversion of data sets into episode files or a stream: the command `genie.convert`.

Each recording is first written to a part, an episode file in a hidden folder beside the output, by this process or by
several; a conversion that was killed resumes with the missing parts. In the end the parts are joined into the output:
one file, a file or shards for each split, or a stream.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_modules.clip_data import ClipData
from data_modules.formats.episodes import COLUMNS, SPLITS, EpisodeWriter
from data_modules.formats.index_file import stamp_of
from data_modules.formats.stream import INDEX
from data_modules.formats.stream_writer import StreamWriter
from data_modules.formats.videos import VIDEO_SUFFIXES
from data_modules.frame_reader import FrameReader, episodes_at
from data_modules.sources import SHORT, EpisodeFiles, files_behind
from data_modules.worker_loader import DamagedData, SteadyDataLoader, num_cpus
from genie.common.errors import UserError
from genie.common.files import read_json, replacing
from genie.common.folder_lock import one_writer
from genie.common.settings.commands import ConvertConfig

ALL = "all"  # the split of an output that is one file

# Keys of the group `data` that only affect how clips are read in training, and not the frames.
OF_CLIPS = (
    "name", "num_frames", "stride", "batch_size", "val_batch_size", "val_clips", "num_workers", "in_memory", "seed",
    "recorder", "on_error", "augmentation", "quality", "min_quality", "quality_splits",
)  # fmt: skip
BATCH_BYTES = 16 * 2**20  # read and written at a time: a decoder seeks once for each batch
NO_FOLDERS = (*VIDEO_SUFFIXES, ".npz", ".npy", ".tar", ".zip", ".json", ".parquet")  # what a folder is not called
BATCH_ROWS = 65536  # likewise, of data without frames


@dataclass(frozen=True)
class SourceRecording:
    """`number`: counted over all recordings. `reader`: number of its reader. `episodes`: (first row, one past the last
    row) of each."""

    number: int
    split: str
    reader: int
    episodes: tuple[tuple[int, int], ...]

    @property
    def num_frames(self) -> int:
        return sum(end - first for first, end in self.episodes)


@dataclass(frozen=True)
class ConversionPlan:
    """`recordings` of `readers`, in the order in which they are written. `fps`: of all. `identity`: what the frames
    depend on, as JSON can store it; a conversion resumes where it is the same."""

    readers: list[FrameReader]
    recordings: list[SourceRecording]
    fps: float
    identity: dict[str, Any]

    @property
    def files(self) -> set[Path]:
        """The absolute paths of all files that are read."""
        return {Path(path) for path, _, _ in self.identity["files"]}


def make_plan(data: dict[str, Any], in_one: bool) -> ConversionPlan:
    """The plan for a group `data`. `in_one`: without splits. Raises UserError where the data cannot be read."""
    module = ClipData(**data)
    if module.augmentation.active or module.good.min_quality is not None:
        key = "augmentation" if module.augmentation.active else "min_quality"
        raise UserError(f"data.{key} is for training: a conversion writes every frame as it is, so leave it out here")
    splits = module.open()
    readers = list({id(reader): reader for reader, _ in splits.values()}.values())
    if in_one:
        splits = {f"{ALL} {number}": (reader, reader.episodes) for number, reader in enumerate(readers)}
    empty = [split for split, (_, episodes) in splits.items() if not len(episodes)]
    if empty:
        way = "give output=<name>.h5, one file, which is split when it is trained on, or another data.holdout"
        raise UserError(
            f"data.holdout={module.holdout:g} of {readers[0].num_frames} frames leaves nothing for {empty[0]}: {way}"
        )
    recordings: list[SourceRecording] = []
    for split, (reader, episodes) in splits.items():
        numbers = reader.recordings[episodes_at(reader, episodes[:, 0])].tolist()
        rows = zip(numbers, map(tuple, episodes.tolist()), strict=True)
        for _, group in groupby(rows, itemgetter(0)):
            found = tuple(episode for _, episode in group)
            recordings.append(SourceRecording(len(recordings), ALL if in_one else split, readers.index(reader), found))
    fps = readers[0].fps or module.fps
    if fps is None:
        raise UserError(f"{readers[0].path} does not say its frames per second: give data.fps=")
    settings = {key: value for key, value in data.items() if key not in OF_CLIPS}
    rows = [[recording.split, recording.reader, recording.episodes] for recording in recordings]
    root = Path(module.root).resolve()
    behind = files_behind(module.source, root)
    files = [[str(path), *stamp_of(path)] for path in behind or ([root] if root.is_file() else [])]
    return ConversionPlan(readers, recordings, fps, {"data": settings, "files": files, "rows": rows})


class Parts:
    """A hidden folder beside the output, with an episode file, written atomically, for each finished recording. Parts
    of another conversion are deleted."""

    def __init__(self, output: Path, identity: dict[str, Any]):
        self.folder = output.with_name(f".{output.name}.parts")
        self.file = self.folder / "identity.json"
        self.identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
        self.found = read_json(self.file)

    @property
    def resumed(self) -> bool:
        """Whether the existing parts are of the same conversion."""
        return self.found == self.identity

    def changes(self) -> str:
        """The differences from the conversion of the existing parts, in words; "" where there are none."""
        if self.found is None or self.resumed:
            return ""
        then, now = self.found.get("data", {}), self.identity["data"]
        differing = [f"{key} {then.get(key)} -> {now.get(key)}" for key in now if then.get(key) != now.get(key)]
        return ", ".join(differing) or "other files"

    def open(self) -> None:
        """Makes the folder, without parts of another conversion. UserError where it cannot be made."""
        if self.resumed:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"cannot write into {self.folder.parent}: {error.strerror or error}") from None
        with replacing(self.file, "w") as file:
            json.dump(self.identity, file)

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.h5"


def write_parts(
    readers: list[FrameReader], tasks: list[tuple[SourceRecording, Path]], fps: float, num_workers: int
) -> Iterator[tuple[SourceRecording, str | None]]:
    """Writes a part for each recording, in `num_workers` processes (0: in this one). Yields each finished recording
    with the reason why it cannot be read, None where its part is written."""
    write = partial(_write_task, readers, tasks, fps)
    # The loader's iterator starts its processes here and not in the generator, before a progress bar starts a thread.
    finished = iter(
        SteadyDataLoader(range(len(tasks)), num_workers=num_workers, batch_size=None, collate_fn=write, in_order=False)
    )

    def done() -> Iterator[tuple[SourceRecording, str | None]]:
        try:
            for number, damage in finished:
                yield tasks[number][0], damage
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                "a process that converts was killed, perhaps for want of memory: the same command goes on; "
                "num_workers= takes fewer of them"
            ) from error

    return done()


def _write_task(readers: list[FrameReader], tasks: list, fps: float, number: int) -> tuple[int, str | None]:
    recording, path = tasks[number]
    return number, write_part(readers[recording.reader], recording, path, fps)


def write_part(reader: FrameReader, recording: SourceRecording, path: Path, fps: float) -> str | None:
    """Writes the part of a recording; or returns why it cannot be read, and writes nothing."""
    step = rows_at_a_time(reader.image_size)
    try:
        with writer_like(reader, path, fps) as writer:
            for first, end in recording.episodes:
                for start in range(first, end, step):
                    stop = min(start + step, end)
                    columns = {name: reader.column(name, start, stop) for name in reader.columns}
                    if reader.image_size is not None:
                        columns["frames"] = reader.frames(start, stop)
                    writer.append(**columns)
                writer.end_episode()
    except DamagedData as error:
        return str(error)
    return None


def writer_like(reader: FrameReader, path: Path, fps: float) -> EpisodeWriter:
    """A writer of an episode file with all columns and attributes of a reader."""
    columns, names = [name for name in reader.columns if name in COLUMNS], names_of_objects(reader)
    sizes = {"state_size": reader.state_size, "action_size": reader.action_size}
    return EpisodeWriter(path, reader.image_size, None, fps, reader.action_meanings, names, columns, **sizes)


def rows_at_a_time(image_size: tuple[int, int] | None) -> int:
    """The number of rows that are read and written together."""
    return BATCH_ROWS if image_size is None else max(1, BATCH_BYTES // (3 * image_size[0] * image_size[1]))


def names_of_objects(reader: FrameReader) -> list[str]:
    """A name for each object of a reader."""
    if "objects" not in reader.columns:
        return []
    return reader.object_names or [f"object_{index}" for index in range(reader.column("objects", 0, 1).shape[1])]


class Output:
    """Where the data are written. `format`: "episodes" or "stream". `shard_frames`: about the frames of a file; None:
    one file for each split. An output whose name ends with .h5 is one file of all episodes, else a folder.

    Raises UserError for an invalid combination.
    """

    def __init__(self, path: str | Path, format: str, shard_frames: int | None):
        self.path, self.format, self.shard_frames = Path(path), format, shard_frames
        self.in_one = self.path.suffix.lower() in (".h5", ".hdf5")
        if self.path.suffix.lower() in NO_FOLDERS:
            raise UserError(
                f"output={path}: episodes are written, no {self.path.suffix} file: give a name that ends with .h5, or "
                "a folder"
            )
        if format == "stream" and (self.in_one or shard_frames is not None):
            raise UserError("format=stream writes a folder of chunks: give output=folder, without shard_frames=")
        if self.in_one and shard_frames is not None:
            raise UserError(f"output={path} is one file: shard_frames= needs a folder")

    def existing(self) -> list[Path]:
        """Existing files that this output would replace, or that would be read together with it."""
        if self.in_one:
            return [self.path] if self.path.exists() else []
        if self.path.is_file():
            raise UserError(f"output={self.path} is a file; a folder, or a name that ends with .h5, is needed")
        if self.format == "stream":
            if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / INDEX).is_file():
                raise UserError(f"output={self.path} holds other things than a stream: give another folder")
            return [self.path / INDEX] if (self.path / INDEX).is_file() else []
        return sorted(
            path for split in SPLITS for path in [self.path / f"{split}.h5", *(self.path / split).glob("*.h5")]
            if path.is_file()
        )  # fmt: skip

    def write(
        self, plan: ConversionPlan, parts: Parts, recordings: list[SourceRecording], progress: Callable[[int], None]
    ) -> None:
        """Joins the parts of these recordings; `progress` is called with the number of new frames."""
        if self.format == "stream":
            reader = plan.readers[0]
            about = (plan.fps, reader.action_meanings, names_of_objects(reader), reader.columns)
            with StreamWriter(self.path, reader.image_size, *about) as writer:
                for recording in recordings:
                    writer.split = recording.split
                    _copy(writer, parts.path(recording.number), recording.number, progress)
            return
        for path in self.existing():
            path.unlink()
        scenes = any(len(recording.episodes) > 1 for recording in recordings)
        for path, group in self._files(recordings):
            with writer_like(plan.readers[group[0].reader], path, plan.fps) as writer:
                for recording in group:
                    _copy(writer, parts.path(recording.number), recording.number if scenes else None, progress)

    def _files(self, recordings: list[SourceRecording]) -> Iterator[tuple[Path, list[SourceRecording]]]:
        """Every file and its recordings. A recording is never split between files."""
        for split, found in groupby(recordings, lambda recording: recording.split):
            group = list(found)
            if split == ALL:
                yield self.path, group
            elif self.shard_frames is None:
                yield self.path / f"{split}.h5", group
            else:
                for number, shard in enumerate(_shards(group, self.shard_frames)):
                    yield self.path / split / f"{number:05d}.h5", shard


def _shards(recordings: list[SourceRecording], num_frames: int) -> Iterator[list[SourceRecording]]:
    """Groups of at least `num_frames` frames, except the last."""
    shard: list[SourceRecording] = []
    for recording in recordings:
        shard.append(recording)
        if sum(one.num_frames for one in shard) >= num_frames:
            yield shard
            shard = []
    if shard:
        yield shard


def _copy(
    writer: EpisodeWriter | StreamWriter, part: Path, recording: int | None, progress: Callable[[int], None]
) -> None:
    """Appends all episodes of a part."""
    with h5py.File(part) as file:
        names = [name for name in file if name != "episode_ends"]
        start, step = 0, rows_at_a_time(file["frames"].shape[1:3] if "frames" in file else None)
        for end in file["episode_ends"][:].tolist():
            for low in range(start, end, step):
                high = min(low + step, end)
                writer.append(**{name: file[name][low:high] for name in names})
                progress(high - low)
            writer.end_episode(recording)
            start = end


def convert(config: ConvertConfig) -> str:
    """Converts the group `data` of a configuration; returns a summary of what was written, in words. Raises UserError
    before any work where an output exists or the data cannot be read."""
    output = Output(config.output, config.format, config.shard_frames)
    with one_writer(output.path, "output=", beside=True):
        return _convert_into(output, config)


def _convert_into(output: Output, config: ConvertConfig) -> str:
    plan = make_plan(config.data.plain(), output.in_one)
    reader = plan.readers[0]
    if output.format == "stream" and (reader.state_size is not None or reader.action_size is not None):
        raise UserError(f"format=stream is for frames and ids of actions; {reader.path} needs format=episodes")
    parts = Parts(output.path, plan.identity)
    existing = output.existing()
    replaced = {path.resolve() for path in existing}
    if output.path.resolve() == Path(config.data.root).resolve() or replaced & plan.files:
        raise UserError(f"output={output.path} is where the data are read from: give another one")
    if output.format == "episodes" and _is_read_along(output.path.resolve(), Path(config.data.root), plan.files):
        raise UserError(
            f"output={output.path} lies among the files that are read, and would be next time: give another one"
        )
    if existing and not (parts.resumed or config.overwrite):
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]}{more} exist already: give overwrite=true or another output=")
    if changes := parts.changes():
        print(f"another conversion into {output.path} was begun ({changes}): starting anew", flush=True)
    parts.open()
    skipped = _make_parts(plan, parts, config)
    written = [recording for recording in plan.recordings if parts.path(recording.number).exists()]
    if not written:
        raise UserError(f"none of the {len(plan.recordings)} recordings in {config.data.root} can be read")
    frames = sum(recording.num_frames for recording in written)
    with _bar() as bar:
        task = bar.add_task("writing", total=frames)
        output.write(plan, parts, written, lambda count: bar.advance(task, count))
    shutil.rmtree(parts.folder, ignore_errors=True)
    episodes = sum(len(recording.episodes) for recording in written)
    size = reader.image_size
    observed = f"{frames} states" if size is None else f"{frames} frames, {size[0]}x{size[1]}"
    left_out = f"; {skipped} recordings could not be read" if skipped else ""
    short = sum(recording.num_frames < SHORT for recording in written)
    if 0 < short < len(written) / 2:
        left_out += f"; {short} of less than {SHORT} frames, hardly a clip"
    return (
        f"converted {len(written)} recordings, {episodes} episodes, {observed} "
        f"at {plan.fps:g} fps, into {output.path}{left_out}"
    )


def _is_read_along(output: Path, root: Path, files: set[Path]) -> bool:
    """Whether an episode file `output` would belong to the episode files of the folder `root`, or of its splits."""
    if not root.is_dir() or not any(path.suffix.lower() in EpisodeFiles.suffixes for path in files):
        return False
    entries = [root / f"{split}{ending}" for split in SPLITS for ending in EpisodeFiles.suffixes]
    folders = [root / split for split in SPLITS if (root / split).is_dir()]
    if not folders and not any(entry.is_file() for entry in entries):
        folders = [root]
    return any(output.is_relative_to(folder.resolve()) for folder in folders)


def _make_parts(plan: ConversionPlan, parts: Parts, config: ConvertConfig) -> int:
    """Makes the missing parts; returns how many recordings cannot be read."""
    missing = [recording for recording in plan.recordings if not parts.path(recording.number).exists()]
    if len(missing) < len(plan.recordings):
        print(f"going on: {len(plan.recordings) - len(missing)} of {len(plan.recordings)} recordings are done")
    num_workers = num_cpus() if config.num_workers is None else config.num_workers
    tasks = [(recording, parts.path(recording.number)) for recording in missing]
    done = write_parts(plan.readers, tasks, plan.fps, min(num_workers, len(tasks)))
    skipped = 0
    with _bar() as bar:
        task = bar.add_task("reading", total=sum(recording.num_frames for recording in missing))
        for recording, damage in done:
            bar.advance(task, recording.num_frames)
            if damage is None:
                continue
            if config.data.on_error == "raise":
                raise UserError(f"{damage} (data.on_error=skip leaves out what cannot be read)")
            skipped += 1
            bar.console.print(f"left out: {damage}", markup=False, highlight=False, soft_wrap=True)
    return skipped


def _bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
