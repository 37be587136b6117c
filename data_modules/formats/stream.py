"""LitData streams (`genie.convert format=stream`): clips from object storage or from a folder.

Chunks and index are LitData's. A record is a stretch of rows of the data set; of a remote record only the bytes of a
clip's frames are fetched, so that clips can be read in any order at the same cost. Rows, episodes and splits are
described in index.json beside LitData's own entries, under "genie".
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.action_ids import ActionIds, ActionOptions, StoredNames
from data_modules.formats.episode_header import COLUMNS_READ
from data_modules.frame_reader import FrameReader, Reading, pieces_of
from data_modules.image_resize import Fit
from data_modules.worker_loader import now_reading
from genie.common.errors import UserError, reason
from genie.common.files import cache_folder

INDEX = "index.json"
MOST_KEPT = 4096  # rows of columns that are cached
FORMAT_VERSION = 1  # of the entry "genie" in the index


class ClipStream:
    """Folders and addresses of streams, as a `NamedSource`. storage_options: for LitData's client of the storage, such
    as {endpoint_url: https://…}. cache: the folder for the index of a remote stream; None: in the cache folder."""

    def __init__(self, reading: Reading, storage_options: dict[str, Any] | None, cache: str | None):
        if reading.in_memory:
            raise UserError("data.in_memory=true is for episode files: `python -m genie.convert` makes one of a stream")
        self.reading, self.storage_options, self.cache = reading, storage_options, cache

    def open_named(self, name: str) -> tuple[FrameReader, dict[str, np.ndarray]]:
        """`name`: a folder, or an address such as s3://bucket/folder."""
        reader = StreamReader(name, self.reading, self.storage_options, self.cache)
        return reader, reader.splits


class StreamReader:
    """A `FrameReader`. `splits`: episodes int64 [E, 2] of each split. Each process that reads opens the stream itself.
    Raises UserError for a missing or unreachable stream, and for chunks of something else."""

    image_size: tuple[int, int] | None
    state_size: int | None = None  # `StreamWriter` supports neither
    action_size: int | None = None

    def __init__(self, name: str, reading: Reading, storage_options: dict[str, Any] | None, cache: str | None):
        self.path = name if "://" in name else Path(name)
        self.image_size, self.storage_options, self.cache = reading.image_size, storage_options, cache
        self._opened, self._process = None, -1
        self._kept: dict[tuple[int, int], dict[str, np.ndarray]] = {}  # columns of the last requested rows
        self.run = 8 if "://" in name else 1  # a request for a few frames takes as long as for one
        local = self._dataset().cache
        assert local is not None  # `open_stream` has loaded the index
        index = json.loads((Path(local.cache_dir) / INDEX).read_text())
        facts = index.get("genie", {})
        if facts.get("format_version") != FORMAT_VERSION:
            raise UserError(f"data.root={self.path} is no stream that genie.convert wrote: convert its source again")
        self.starts = np.cumsum([0, *self._dataset().frame_counts])
        self.num_frames = int(self.starts[-1])
        self.columns, self.fps = facts["columns"], facts["fps"]
        self.object_names = facts["object_names"]
        self.splits = {split: np.array(rows).reshape(-1, 2) for split, rows in facts["splits"].items()}
        self.episodes = np.concatenate(list(self.splits.values()))
        self.recordings = np.asarray(facts["recordings"])
        size = tuple(facts["image_size"])
        self.stored_sizes, self.resize = [size], Fit(size, self.image_size, reading.fit)
        self.ids = self._ids(facts["action_meanings"], reading.actions) if "actions" in self.columns else None
        self.action_meanings = None if self.ids is None else self.ids.names

    def _ids(self, names: list[str] | None, options: ActionOptions) -> ActionIds:
        """Ids of actions. Those of remote streams with names are not checked: genie.convert has checked them."""
        if options.changes_ids:
            raise UserError("data.actions.offset and none are for episode files: give them to genie.convert")
        if names and "://" in str(self.path):
            found = list(range(len(names)))
        else:
            found = np.unique(self._read(["actions"], 0, self.num_frames, 1)["actions"]).tolist()
        return ActionIds(self.path, found, StoredNames(names), options)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None, "_process": -1, "_kept": {}}

    def _dataset(self):
        if self._opened is None or self._process != os.getpid():
            self._opened, self._process = open_stream(str(self.path), self.storage_options, self.cache), os.getpid()
        return self._opened

    def frames(self, start: int, stop: int, step: int = 1) -> np.ndarray:
        return self.resize(self._read(["frames"], start, stop, step)["frames"])

    def column(self, name: str, start: int, stop: int) -> np.ndarray:
        columns = self._kept.get((start, stop))
        if columns is None:  # one request fetches all columns, which are read next
            columns = self._read(self.columns, start, stop, 1)
            if len(self._kept) == 2:  # with a stride, rewards are of more rows than actions
                self._kept.clear()
            if stop - start <= MOST_KEPT:
                self._kept[start, stop] = columns
        if name == "actions" and self.ids is not None:
            return self.ids.read(columns[name])
        rows = columns[name].astype(COLUMNS_READ[name][1])
        return self.resize.points(rows) if name == "objects" else rows

    def _read(self, names: list[str], start: int, stop: int, step: int) -> dict[str, np.ndarray]:
        now_reading(self.path)
        dataset = self._dataset()
        parts = []
        for record, low, high in pieces_of(self.starts, start, stop, step):
            window = dataset.read_window(record, low, high - low, fields=names)
            parts.append({name: rows[::step] for name, rows in window.items()})
        return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in names}


def open_stream(name: str, storage_options: dict[str, Any] | None, cache: str | None):
    """LitData's data set of a folder or an address, with its index loaded. UserError where that fails."""
    try:
        from litdata import StreamingDataset
        from litdata.streaming import TemporalArrayLoader
    except ImportError as error:
        raise UserError(f"data=stream needs litdata ({error}): pip install 'genie-world[stream]'") from None
    if "://" not in name and not (Path(name) / INDEX).is_file():
        raise UserError(f"there is no {Path(name) / INDEX}: give data.root=, a folder or address of a stream")
    quiet_litdata()
    folder = Path(cache) if cache else cache_folder() / "streams"
    try:
        dataset = StreamingDataset(
            name, cache_dir=str(folder), item_loader=TemporalArrayLoader(), storage_options=storage_options
        )
        dataset.frame_counts  # noqa: B018  loads the index, and raises for one of another kind
        return dataset
    except Exception as error:  # the storage's client and LitData raise errors of many kinds
        raise UserError(f"data.root={name} cannot be read as a stream: {reason(error)}") from error


def quiet_litdata() -> None:
    """Suppresses its notes about reading and caching."""
    logging.getLogger("litdata").setLevel(logging.WARNING)
