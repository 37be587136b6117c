"""Points in the local files of Weights & Biases, run-<id>.wandb, which its process writes online and offline.

A file is a log of protocol buffers in LevelDB's format: blocks of fixed size with records in one or more parts
(https://github.com/google/leveldb/blob/main/doc/log_format.md). The package has no reader of its own.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7  # bytes of a block, and of the header of a record and of the file
WHOLE, LAST = 1, 4  # kinds of a record's part
X_AXIS = "trainer/global_step"  # of all curves: Lightning's name for it; counted from 0


def logged_points(folder: Path, run_id: str) -> set[tuple[int, str]]:
    """(step, name) of all curves, pictures and videos of a run in the files below `folder`; what cannot be read is left
    out, such as the end of a file that was being written."""
    found = set()
    for path in sorted(folder.glob(f"wandb/*-{run_id}/*.wandb")):
        try:
            for record in records(path):
                if record.HasField("history"):
                    row = row_of(record)
                    found |= {(row[X_AXIS], name) for name in row if X_AXIS in row}
        except Exception:  # another version's format: the points are logged again
            continue
    return found


def row_of(record: Any) -> dict[str, Any]:
    """{name: value} of a row of the history; of a picture its first key."""
    items = record.history.item
    return {item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json) for item in items}


def records(path: Path) -> Iterator[Any]:
    """The whole records of a file."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        place += HEADER + length
        if place > len(data):
            return
        parts += data[place - length : place]
        if kind in (WHOLE, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
