"""Windows of a data set, which are rated, scored and kept as a whole."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.annotations import Window, curation_folder, identity, parts
from data_modules.clip_data import ClipData


class WindowedData:
    """All frames of the resolved group `data`, each in one window of about `data.num_frames` rows.

    `data`: the identity of each part; `recordings`: of each window its part and the number of its recording.
    Raises UserError where the data cannot be read.
    """

    def __init__(self, data: dict[str, Any]):
        module = ClipData(**{**data, "min_quality": None, "augmentation": None})
        module.setup()
        self.root, self.on_error = module.root, module.on_error
        self.readers = parts(module.splits)
        self.fps = module.info.fps
        self.data = {part: identity(reader) for part, reader in self.readers.items()}
        self.recordings: dict[Window, tuple[str, int]] = {}
        for part, reader in self.readers.items():
            for recording, (first, stop) in zip(reader.recordings.tolist(), reader.episodes.tolist(), strict=True):
                for window in cut(part, first, stop, data["num_frames"]):
                    self.recordings[window] = part, recording
        self.windows = list(self.recordings)

    @property
    def folder(self) -> Path:
        """The default folder of its curation."""
        return curation_folder(self.root)

    def frames(self, window: Window) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        return self.readers[window.part].frames(window.first, window.stop)


def name_of(window: Window) -> str:
    """A window in words."""
    return f"{window.part} {window.first}-{window.stop}"


def cut(part: str, first: int, stop: int, length: int) -> list[Window]:
    """Rows first … stop - 1 in windows of nearly equal length, as close to `length` as possible."""
    count = max(1, round((stop - first) / length))
    bounds = [first + number * (stop - first) // count for number in range(count + 1)]
    return [Window(part, *ends) for ends in itertools.pairwise(bounds)]
