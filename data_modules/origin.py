"""Where an episode came from, so that it can be played again and the replay be proved: settings, seeds and hashes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.episode_header import dataset, opened
from genie.common.errors import UserError

HASH_BYTES = 16


class Fingerprint:
    """BLAKE2b of the rows of an episode: the bytes of uint8 frames, or of little-endian float32 states."""

    def __init__(self):
        self._hash = hashlib.blake2b(digest_size=HASH_BYTES)

    def add(self, rows: np.ndarray) -> None:
        """Rows [n, ...] that follow on those before; in how many pieces they come makes no difference."""
        dtype = np.uint8 if rows.dtype == np.uint8 else np.dtype("<f4")
        self._hash.update(np.ascontiguousarray(rows, dtype).tobytes())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Origin:
    """How a file was recorded.

    settings: of the group `data.recorder`, those that the environment is opened with. seeds: int64 [E]. hashes: one for
    each episode.
    """

    settings: dict[str, Any]
    seeds: np.ndarray
    hashes: list[str]


def read_origin(path: Path) -> Origin | None:
    """What an episode file says of its recording; None where it says nothing. UserError where it cannot be read."""
    with opened(path) as file:
        seeds, hashes = dataset(path, file, "seeds"), dataset(path, file, "hashes")
        if seeds is None or hashes is None or "recorder" not in file.attrs:
            return None
        try:
            settings = json.loads(file.attrs["recorder"])
        except (TypeError, ValueError):
            settings = None
        if not isinstance(settings, dict):
            raise UserError(f"the attribute recorder of {path} is damaged: record it again")
        return Origin(settings, seeds[:], [text.decode() for text in hashes[:]])
