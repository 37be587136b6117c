"""Writer of LitData streams (`formats/stream.py`)."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_modules.formats.episode_header import COLUMNS_READ
from data_modules.formats.stream import FORMAT_VERSION, INDEX, quiet_litdata
from genie.common.errors import UserError
from genie.common.files import sync

RECORD_BYTES = 64 * 2**20  # of a record, which is a chunk: large enough for any storage, small enough to hold twice


class StreamWriter:
    """Context manager that writes the folder of a stream: complete at `folder`, or not there at all.

    Rows are appended split after split, as in `EpisodeWriter`; `split` names the current one. Replaces an existing
    stream. UserError where nothing can be written.
    """

    def __init__(
        self,
        folder: str | Path,
        image_size: tuple[int, int],
        fps: float | None,
        action_meanings: list[str] | None,
        object_names: list[str],
        columns: Iterable[str],
    ):
        self.folder, self.columns = Path(folder), list(columns)
        self.facts = {
            "format_version": FORMAT_VERSION,
            "image_size": list(image_size),
            "fps": fps,
            "action_meanings": action_meanings,
            "object_names": list(object_names),
            "columns": self.columns,
        }
        self.split = ""
        self.num_frames = self.num_records = 0
        self.splits: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.recordings: list[int] = []
        self.first = 0  # row of the current episode
        self.rows: dict[str, list[np.ndarray]] = defaultdict(list)  # of the current record
        self.record_frames = max(1, RECORD_BYTES // (image_size[0] * image_size[1] * 3))

    def __enter__(self) -> "StreamWriter":
        try:
            from litdata.streaming import Cache, TemporalArrayLoader
        except ImportError as error:
            raise UserError(f"format=stream needs litdata ({error}): pip install 'genie-world[stream]'") from None
        quiet_litdata()
        self.temporary = self.folder.with_name(f".{self.folder.name}.tmp-{os.getpid()}")
        try:
            shutil.rmtree(self.temporary, ignore_errors=True)
            self.temporary.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"cannot write into {self.folder.parent}: {error.strerror or error}") from None
        loader = TemporalArrayLoader([self.columns] if self.columns else None)  # one request fetches all columns
        self.cache = Cache(str(self.temporary), chunk_size=1, item_loader=loader)
        return self

    def append(self, **columns: np.ndarray) -> None:
        """Adds n frames to the current episode; every column of the stream, [n, ...]."""
        count, taken = len(columns["frames"]), 0
        while taken < count:
            filled = self.num_frames % self.record_frames
            end = min(count, taken + self.record_frames - filled)
            for name, values in columns.items():
                self.rows[name].append(values[taken:end])
            self.num_frames += end - taken
            taken = end
            if self.num_frames % self.record_frames == 0:
                self._write_record()

    def end_episode(self, recording: int) -> None:
        """Ends the current episode, which was cut out of the recording `recording`."""
        self.splits[self.split].append((self.first, self.num_frames))
        self.recordings.append(recording)
        self.first = self.num_frames

    def _write_record(self) -> None:
        dtypes = {"frames": np.uint8} | {name: COLUMNS_READ[name][1] for name in self.columns}
        self.cache[self.num_records] = {
            name: np.concatenate(self.rows[name]).astype(dtype, copy=False) for name, dtype in dtypes.items()
        }
        self.num_records += 1
        self.rows.clear()

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is not None:
                return
            if self.rows:
                self._write_record()
            self.cache.done()
            self.cache.merge()
            path = self.temporary / INDEX
            index = json.loads(path.read_text())
            index["genie"] = self.facts | {"splits": self.splits, "recordings": self.recordings}
            path.write_text(json.dumps(index))
            for written in self.temporary.iterdir():
                sync(written)
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(self.temporary, self.folder)
            sync(self.folder.parent)
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)
