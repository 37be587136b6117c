"""One recording at a time: from its reader to a part, in this process or in several."""

from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import Dataset

from data_modules.formats.episodes import COLUMNS, EpisodeWriter
from data_modules.frame_reader import FrameReader
from data_modules.worker_loader import DamagedData, SteadyDataLoader
from genie.common.errors import UserError
from genie.converting.plan import Recording

BATCH_BYTES = 16 * 2**20  # read and written at a time: a decoder has to find its place once for so much
BATCH_ROWS = 65536  # likewise, of data without frames

Done = tuple[Recording, str | None]  # and what is wrong with it, None where its part is written


class _Work(Dataset):
    """Item n is (n, what is wrong with the n-th recording), and its part is then written."""

    def __init__(self, readers: list[FrameReader], tasks: list[tuple[Recording, Path]], fps: float):
        self.readers, self.tasks, self.fps = readers, tasks, fps

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number: int) -> tuple[int, str | None]:
        recording, path = self.tasks[number]
        return number, write_part(self.readers[recording.reader], recording, path, self.fps)


def write_parts(
    readers: list[FrameReader], tasks: list[tuple[Recording, Path]], fps: float, num_workers: int
) -> Iterator[Done]:
    """Writes a part for each recording, in `num_workers` processes (0: in this one), and gives each when it is done."""
    work = _Work(readers, tasks, fps)
    # An iterator of the loader has its processes already: they are to be there before a progress bar starts a thread.
    finished = iter(SteadyDataLoader(work, num_workers=num_workers, batch_size=None, in_order=False))
    return _named(finished, tasks)


def _named(finished: Iterator[tuple[int, str | None]], tasks: list[tuple[Recording, Path]]) -> Iterator[Done]:
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


def write_part(reader: FrameReader, recording: Recording, path: Path, fps: float) -> str | None:
    """Writes the part of a recording; or says why it cannot be read, and writes nothing."""
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
    """A writer of an episode file with all that a reader has."""
    columns, names = [name for name in reader.columns if name in COLUMNS], names_of_objects(reader)
    sizes = {"state_size": reader.state_size, "action_size": reader.action_size}
    return EpisodeWriter(path, reader.image_size, None, fps, reader.action_meanings, names, columns, **sizes)


def rows_at_a_time(image_size: tuple[int, int] | None) -> int:
    """So many frames make some `BATCH_BYTES`."""
    if image_size is None:
        return BATCH_ROWS
    return max(1, BATCH_BYTES // (3 * image_size[0] * image_size[1]))


def names_of_objects(reader: FrameReader) -> list[str]:
    """A name for each object whose positions a reader has."""
    if "objects" not in reader.columns:
        return []
    return reader.object_names or [f"object_{index}" for index in range(reader.column("objects", 0, 1).shape[1])]
