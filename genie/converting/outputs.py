"""What a conversion writes in the end: one file, a file or shards for each split, or a stream."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import h5py

from data_modules.formats.episodes import SPLITS, EpisodeWriter
from data_modules.formats.stream import INDEX
from data_modules.formats.stream_writer import StreamWriter
from data_modules.frame_reader import FrameReader
from genie.common.errors import UserError
from genie.converting.parts import Parts
from genie.converting.plan import ALL, Plan, Recording
from genie.converting.work import names_of_objects, rows_at_a_time, writer_like


class Output:
    """Where the data go. `format`: "episodes" or "stream". `shard_frames`: of a file, about; None: one for each split.

    An output whose name ends with .h5 is one file of all episodes; else it is a folder. Raises UserError for a
    combination that there is not.
    """

    def __init__(self, path: str | Path, format: str, shard_frames: int | None):
        self.path, self.format, self.shard_frames = Path(path), format, shard_frames
        self.in_one = self.path.suffix.lower() in (".h5", ".hdf5")
        if format not in ("episodes", "stream"):
            raise UserError(f"format={format} must be episodes or stream")
        if format == "stream" and (self.in_one or shard_frames is not None):
            raise UserError("format=stream writes a folder of chunks: give output=folder, without shard_frames=")
        if self.in_one and shard_frames is not None:
            raise UserError(f"output={path} is one file: shard_frames= needs a folder")

    def existing(self) -> list[Path]:
        """What is there already, that this output would replace or that would be read beside it."""
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

    def require_fits(self, reader: FrameReader) -> None:
        """Raises UserError where data like those of a reader cannot be written in this format."""
        if self.format == "stream" and (reader.state_size is not None or reader.action_size is not None):
            raise UserError(f"format=stream is for frames and ids of actions; {reader.path} needs format=episodes")

    def write(self, plan: Plan, parts: Parts, recordings: list[Recording], progress: Callable[[int], None]) -> None:
        """Writes the parts of these recordings; `progress` is called with the number of new frames."""
        if self.format == "stream":
            self._write_stream(plan, parts, recordings, progress)
            return
        for path in self.existing():
            path.unlink()
        scenes = any(len(recording.episodes) > 1 for recording in recordings)
        for path, group in self._files(recordings):
            with writer_like(plan.readers[group[0].reader], path, plan.fps) as writer:
                for recording in group:
                    _copy(writer, parts.path(recording.number), recording.number if scenes else None, progress)

    def _files(self, recordings: list[Recording]) -> Iterator[tuple[Path, list[Recording]]]:
        """Every file and what goes into it. A recording stays in one."""
        for split, found in groupby(recordings, lambda recording: recording.split):
            group = list(found)
            if split == ALL:
                yield self.path, group
            elif self.shard_frames is None:
                yield self.path / f"{split}.h5", group
            else:
                for number, shard in enumerate(_shards(group, self.shard_frames)):
                    yield self.path / split / f"{number:05d}.h5", shard

    def _write_stream(self, plan: Plan, parts: Parts, recordings: list[Recording], progress) -> None:
        reader = plan.readers[0]
        names = names_of_objects(reader)
        with StreamWriter(
            self.path, reader.image_size, plan.fps, reader.action_meanings, names, reader.columns
        ) as writer:
            for recording in recordings:
                writer.split = recording.split
                _copy(writer, parts.path(recording.number), recording.number, progress)


def _shards(recordings: list[Recording], num_frames: int) -> Iterator[list[Recording]]:
    """Groups of at least `num_frames` frames, but for the last."""
    shard: list[Recording] = []
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
