"""What an episode file says of itself: all that is known before a frame is read (see `episode_file.py`)."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from genie.errors import UserError

# column -> (numpy kinds that are accepted, dtype that is returned, number of axes)
COLUMNS_READ = {
    "states": ("f", np.float32, 2),
    "actions": ("iu", np.int64, 1),
    "rewards": ("fiu", np.float32, 1),
    "terminals": ("biu", np.bool_, 1),
    "objects": ("f", np.float32, 3),
}
NUMBERS = ("f", np.float32, 2)  # what actions may be instead
FORMAT_VERSION = 2  # the highest there is: `episode_file.py`


@dataclass(frozen=True)
class EpisodeHeader:
    """`ends`: one past the last frame of each episode. `recordings`: what each episode was cut out of, in order.
    `state_size`, `action_size`: the numbers of a state, and of an action that is numbers.

    All values are such that JSON can hold them.
    """

    num_frames: int
    stored_size: list[int] | None  # H, W; None: states alone
    state_size: int | None
    action_size: int | None  # None: ids, or no actions
    columns: list[str]
    ends: list[int]
    recordings: list[int]
    fps: float | None
    action_meanings: list[str] | None
    object_names: list[str]


def open_file(path: Path) -> h5py.File:
    """The file, to read from. Raises UserError where it is missing or no HDF5 file."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        reason = str(error).split("(")[-1].rstrip(")")
        raise UserError(f"{path} is damaged or no HDF5 file ({reason}): record or convert it again") from None


def read_header(path: Path) -> EpisodeHeader:
    """Raises UserError for a file that is missing, damaged or not in the format."""
    with open_file(path) as file:
        version = int(file.attrs.get("format_version", 1))
        if version > FORMAT_VERSION:
            raise UserError(
                f"{path} has the format's version {version}; this release knows them up to {FORMAT_VERSION}"
            )
        frames, states = file.get("frames"), file.get("states")
        if not isinstance(frames, h5py.Dataset) and not isinstance(states, h5py.Dataset):
            raise UserError(f"{path} has no dataset 'frames' (or 'states'), only: {', '.join(file) or 'nothing'}")
        if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3):
            raise UserError(f"frames in {path} are {frames.dtype} {list(frames.shape)}, not uint8 [N, H, W, 3]")
        num_frames = len(states if frames is None else frames)
        columns = [name for name in COLUMNS_READ if name in file]
        for name in columns:
            _check_column(path, name, file[name], num_frames)
        ends = _ends(path, file, num_frames)
        return EpisodeHeader(
            num_frames=num_frames,
            stored_size=None if frames is None else list(frames.shape[1:3]),
            state_size=None if states is None else states.shape[1],
            action_size=file["actions"].shape[1] if "actions" in columns and file["actions"].ndim == 2 else None,
            columns=columns,
            ends=ends.tolist(),
            recordings=_recordings(path, file, len(ends)).tolist(),
            fps=float(file.attrs["fps"]) if "fps" in file.attrs else None,
            action_meanings=_names(file, "action_meanings"),
            object_names=_names(file, "object_names") or [],
        )


def dtype_of(name: str, rows: np.ndarray) -> type:
    """The dtype that a batch has of some rows of a column."""
    return _read_as(name, rows.ndim)[1]


def _read_as(name: str, axes: int) -> tuple[str, type, int]:
    return NUMBERS if name == "actions" and axes == NUMBERS[2] else COLUMNS_READ[name]


def _check_column(path: Path, name: str, data: h5py.Dataset, num_frames: int) -> None:
    kinds, _, axes = _read_as(name, data.ndim)
    if data.dtype.kind not in kinds or data.ndim != axes or len(data) != num_frames:
        raise UserError(
            f"{name} in {path} are {data.dtype} {list(data.shape)}: "
            f"the wrong type or not one for each of the {num_frames} frames"
        )


def _ends(path: Path, file: h5py.File, num_frames: int) -> np.ndarray:
    ends = file["episode_ends"][:].astype(np.int64) if "episode_ends" in file else np.array([num_frames])
    starts = np.concatenate([[0], ends[:-1]])
    if ends.ndim != 1 or len(ends) == 0 or ends[-1] != num_frames or (ends <= starts).any():
        raise UserError(f"episode_ends in {path} do not rise to the number of frames, {num_frames}")
    return ends


def _recordings(path: Path, file: h5py.File, num_episodes: int) -> np.ndarray:
    recordings = file["recordings"][:] if "recordings" in file else np.arange(num_episodes)
    if recordings.shape != (num_episodes,) or recordings.dtype.kind not in "iu" or (np.diff(recordings) < 0).any():
        raise UserError(f"recordings in {path} are not {num_episodes} whole numbers in order, one for each episode")
    return recordings.astype(np.int64)


def _names(file: h5py.File, attribute: str) -> list[str] | None:
    if attribute not in file.attrs:
        return None
    return [name.decode() if isinstance(name, bytes) else str(name) for name in file.attrs[attribute]]
