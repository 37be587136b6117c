"""Some episodes of a run's data beside its exported files: the world is played and measured without the rest."""

from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from data_modules.formats.episode_header import dataset, opened
from data_modules.formats.episodes import SPLITS
from genie.common.errors import UserError, reason
from genie.common.files import replacing

ROWS = 256  # frames of a compressed chunk: most of a frame is as in the one before


def export_data(root: str | Path, output: Path, frames: int) -> None:
    """Writes `output`/{train,val,test}.h5, the first episodes of each split that have `frames` frames together (the
    whole split where it has fewer), compressed. UserError unless the data are three such episode files."""
    files = [Path(root) / f"{split}.h5" for split in SPLITS]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise UserError(
            f"data_frames={frames}: there is no {missing[0]}; only data in three episode files are exported"
        )
    for file in files:
        try:
            shorten(file, output / file.name, frames)
        except OSError as error:
            raise UserError(f"cannot write {output / file.name} ({reason(error)})") from error


def shorten(source: Path, target: Path, frames: int) -> None:
    """Copies the first episodes of an episode file, at least `frames` frames of them, atomically."""
    with replacing(target) as file, opened(source) as old, h5py.File(file.name, "w") as new:
        ends = dataset(source, old, "episode_ends")
        ends = np.array([len(next(iter(columns(old).values())))]) if ends is None else ends[:]
        episodes = min(len(ends), int(np.searchsorted(ends, frames)) + 1)
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name, column in columns(old).items():
            per_episode = name in ("episode_ends", "recordings", "seeds", "hashes")
            rows = column[: episodes if per_episode else int(ends[episodes - 1])]
            options: dict[str, Any] = {}
            if not per_episode:
                options = {"chunks": (min(ROWS, len(rows)), *rows.shape[1:]), "compression": "gzip"}
            new.create_dataset(name, data=rows, **options)


def columns(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The datasets of an episode file."""
    return {name: cast(h5py.Dataset, file[name]) for name in file}
