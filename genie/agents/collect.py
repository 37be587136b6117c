"""Rounds of recordings of an agent, and the returns of their episodes.

    <folder>/train/round_000.h5  val/round_000.h5  test/round_000.h5    round 0: the recorder's own policy, at random

A folder `train` of episode files is one data set: every training sees all rounds so far.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_modules.environments.recorder import build_recorder
from data_modules.environments.recording_policies import RecordingAgent
from data_modules.formats.episodes import SPLITS


def recording(folder: Path, split: str, number: int) -> Path:
    return folder / split / f"round_{number:03}.h5"


def is_collected(folder: Path, number: int) -> bool:
    """Whether all files of round `number` are there (each is whole or absent)."""
    return all(recording(folder, split, number).exists() for split in SPLITS)


def collect(
    data: dict[str, Any], folder: Path, number: int, num_frames: dict[str, int], agent: RecordingAgent | None = None
) -> None:
    """Records the missing files of round `number`; every round has seeds of its own.

    Args:
        data: a resolved group `data` with a `recorder`.
        num_frames: by split.
        agent: the player; None: the recorder's own policy.
    """
    settings = data["recorder"] | {"seed": data["recorder"]["seed"] + number}
    recorder = build_recorder(settings, list(data["image_size"]))
    recorder.agent = agent
    for split in SPLITS:
        path = recording(folder, split, number)
        if not path.exists():
            recorder.record(path, split, num_frames[split], lambda count: None)


def episode_returns(path: Path, longest: int | None = None) -> np.ndarray:
    """The sums of rewards float [E] of the episodes of a file, of the first `longest` rewards of each (None: of all).

    The last episode is left out where the end of the file cut it.
    """
    with h5py.File(path) as file:
        rewards, terminals, ends = file["rewards"][:], file["terminals"][:], file["episode_ends"][:]
    starts = np.concatenate([[0], ends[:-1]])
    returns = np.array([rewards[start:end][:longest].sum() for start, end in zip(starts, ends, strict=True)])
    return returns if terminals[starts[-1] : ends[-1]].any() else returns[:-1]
