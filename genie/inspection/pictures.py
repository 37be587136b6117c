"""A sheet of frames, and clips as videos: exactly the pixels that the model sees, enlarged."""

from pathlib import Path

import numpy as np

from data_modules.clips import ClipDataset
from genie.common.media import enlarge, grid, scale_to, to_bytes, write_mp4, write_png

CELL = 96  # pixels that a picture of the sheet is high, at least


def write_sheet(path: Path, clips: ClipDataset, num_rows: int, num_columns: int) -> Path:
    """A clip in each row, evenly spaced over `clips`; frames evenly spaced over each."""
    chosen = _spread(num_rows, len(clips))
    columns = _spread(num_columns, clips.num_frames)
    scale = scale_to(clips.reader.image_size[0], CELL)
    rows = [list(enlarge(_frames(clips, index)[columns], scale)) for index in chosen]
    labels = [f"row {clips.location(int(index))[0]}" for index in chosen]
    return write_png(path, grid(rows, labels, [f"{column}" for column in columns]))


def write_clips(folder: Path, clips: ClipDataset, count: int, scale: int) -> list[Path]:
    """clip_0.mp4, clip_1.mp4, …, evenly spaced over `clips`; those that were there before are deleted."""
    for path in folder.glob("clip_*.mp4"):
        path.unlink()
    return [
        write_mp4(folder / f"clip_{number}.mp4", enlarge(_frames(clips, index), scale), float(clips.fps))
        for number, index in enumerate(_spread(count, len(clips)))
    ]


def _frames(clips: ClipDataset, index: int) -> np.ndarray:
    return to_bytes(clips[int(index)]["frames"])


def _spread(count: int, total: int) -> np.ndarray:
    """At most `count` numbers below `total`, evenly spaced."""
    count = min(count, total)
    return np.arange(count) * total // max(1, count)
