"""Header of an episode file: all that is known before a frame is read, and the checks of its columns.

Files come from anywhere: every defect is a UserError of one line, so that a folder can be used without the file. Values
are checked once for a whole file, except actions and rewards in the last row of an episode, where nothing was decided:
files often have NaN or -1 there, and such values are read as 0.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_modules.action_ids import MOST_IDS, names_in, shortened, stored_names
from genie.common.errors import UserError, reason

LARGEST_REWARD = 1e9  # returns of a thousand steps, squared, stay far inside of float32
LARGEST_STATE = 1e18  # squares stay inside of float32
FASTEST = 1000.0  # frames a second of any data
# column -> (numpy kinds that are accepted, dtype that is returned, number of axes)
COLUMNS_READ = {
    "states": ("fiu", np.float32, 2),
    "actions": ("biu", np.int64, 1),
    "rewards": ("fiu", np.float32, 1),
    "terminals": ("biu", np.bool_, 1),
    "objects": ("f", np.float32, 3),
}
NUMBERS = ("f", np.float32, 2)  # what actions may be instead
FORMAT_VERSION = 2  # the highest known version: `formats/episodes.py`


def check_values(
    path: Path | str, columns: list[str], ends: np.ndarray, rows_of: Callable[[str], np.ndarray]
) -> list[int] | None:
    """Checks all rows of the columns of a file. ends: one past the last row of each episode. rows_of(column): its rows.

    Returns the sorted distinct action ids of its decisions, None without ids. Raises UserError for invalid values; it
    names the first row that has one.
    """
    decided = np.ones(int(ends[-1]), dtype=bool)
    decided[ends - 1] = False
    ids = None
    for name in columns:
        rows = rows_of(name)
        if name == "actions" and rows.dtype.kind in "biu":
            ids = np.unique(rows[decided]).tolist()
            if len(ids) > MOST_IDS:
                raise UserError(
                    f"actions in {path} have {len(ids):,} different ids: write numbers as float32 [N, A] in [-1, 1]"
                )
        elif name == "actions":
            _check_numbers(path, rows, decided)
        elif name == "rewards":
            wrong = decided & ~(np.abs(rows.reshape(len(rows))) <= LARGEST_REWARD)
            _refuse(path, "rewards", rows, wrong, f"finite numbers of at most ±{LARGEST_REWARD:g}")
        elif name == "states":
            wrong = ~np.all(np.abs(rows) <= LARGEST_STATE, 1)
            _refuse(path, "states", rows, wrong, f"finite numbers of at most ±{LARGEST_STATE:g}")
        elif name == "terminals":
            flags = rows.reshape(len(rows))
            _refuse(path, "terminals", rows, (flags != 0) & (flags != 1), "true or false, 1 or 0")
        elif name == "objects":
            places = np.any(np.isinf(rows), (1, 2))
            _refuse(path, "objects", rows, places, "pixels, or NaN where an object is absent")
    return ids


def blanked(name: str, rows: np.ndarray) -> np.ndarray:
    """`rows` of a checked column, with 0 in place of invalid values, which only last rows of episodes may have."""
    if name == "rewards":
        wrong = ~(np.abs(rows) <= LARGEST_REWARD)
    elif name == "actions" and rows.ndim == 2:
        wrong = ~(np.abs(rows) <= 1).all(1)
    else:
        return rows
    if wrong.any():
        rows[wrong] = 0
    return rows


def _check_numbers(path: Path | str, rows: np.ndarray, decided: np.ndarray) -> None:
    _refuse(path, "actions", rows, decided & ~(np.abs(rows) <= 1).all(1), "in [-1, 1] where they are numbers")
    chosen = rows[decided]
    if rows.shape[1] > 1 and len(chosen) and ((chosen == 0) | (chosen == 1)).all() and (chosen.sum(1) == 1).all():
        raise UserError(
            f"actions in {path} are one-hot, a 1 among {rows.shape[1]} numbers: write ids, "
            "actions.argmax(1) as int64 [N]"
        )


def _refuse(path: Path | str, name: str, rows: np.ndarray, wrong: np.ndarray, allowed: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = np.array2string(np.asarray(rows[row]).reshape(-1), separator=", ", threshold=8, max_line_width=10**6)
        count = int(wrong.sum())
        more = f" ({count:,} of {len(rows):,} rows are wrong)" if count > 1 else ""
        raise UserError(
            f"{name} in {path} have to be {allowed}; row {row} is {value.strip('[]')}{more}: correct or leave out "
            "these rows where the file is written"
        )


@dataclass(frozen=True)
class EpisodeHeader:
    """What an episode file contains; all values can be stored as JSON.

    `ends`: one past the last frame of each episode. `recordings`: the recording of each episode, in order.
    `state_size`, `action_size`: the numbers of a state, and of a continuous action. `action_ids`: the distinct stored
    ids of the decisions; None without ids. `action_meanings`: None where there are no valid names; `names_problem`: why
    those in the file are invalid, or "".
    """

    num_frames: int
    stored_size: list[int] | None  # H, W; None: states alone
    state_size: int | None
    action_size: int | None  # None: ids, or no actions
    columns: list[str]
    ends: list[int]
    recordings: list[int]
    fps: float | None
    action_ids: list[int] | None
    action_meanings: list[str] | None
    names_problem: str
    object_names: list[str]


def open_file(path: Path) -> h5py.File:
    """The file opened for reading. Raises UserError where it is missing or no HDF5 file."""
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        cause = str(error).split("(")[-1].rstrip(")")
        raise UserError(f"{path} is damaged or no HDF5 file ({cause}): record or convert it again") from None


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, in a context that turns every exception about a damaged file into a UserError."""
    with open_file(path) as file:
        try:
            yield file
        except UserError:
            raise
        except Exception as error:  # HDF5 and h5py raise errors of any kind for corrupted files
            raise UserError(f"{path} is damaged ({reason(error)}): record or convert it again") from error


def read_header(path: Path) -> EpisodeHeader:
    """Raises UserError for a file that is missing, damaged or not in the format, and for invalid values."""
    with opened(path) as file:
        _check_version(path, file)
        frames, states = dataset(path, file, "frames"), dataset(path, file, "states")
        observed = states if frames is None else frames
        if observed is None:
            raise UserError(f"{path} has no dataset 'frames' (or 'states'), only: {', '.join(file) or 'nothing'}")
        if frames is not None:
            _check_frames(path, frames)
        num_frames = len(observed)
        if num_frames == 0:
            raise UserError(f"{path} has no {'states' if frames is None else 'frames'}")
        columns = {name: data for name in COLUMNS_READ if (data := dataset(path, file, name)) is not None}
        for name, data in columns.items():
            _check_column(path, name, data, num_frames)
        ends = _ends(path, file, num_frames)
        ids = check_values(path, list(columns), ends, lambda name: read_rows(columns[name], name))
        names = stored_names(file.attrs.get("action_meanings", []))
        continuous = "actions" in columns and ids is None
        return EpisodeHeader(
            num_frames=num_frames,
            stored_size=None if frames is None else list(frames.shape[1:3]),
            state_size=None if states is None else states.shape[1],
            action_size=columns["actions"].shape[1] if continuous else None,
            columns=list(columns),
            ends=ends.tolist(),
            recordings=_recordings(path, file, len(ends)).tolist(),
            fps=_fps(path, file),
            action_ids=ids,
            action_meanings=names.names,
            names_problem=names.problem,
            object_names=_object_names(path, file, columns.get("objects")),
        )


def dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset | None:
    """The data set `name`; None where there is none. Raises UserError for other objects and broken links."""
    link = file.get(name, getlink=True)
    if link is None:
        return None
    try:
        found = file[name]
    except (KeyError, OSError, RuntimeError):
        target = getattr(link, "filename", None) or getattr(link, "path", "")
        raise UserError(f"{name} in {path} is a link to {target}, and there is nothing") from None
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{name} in {path} is a {type(found).__name__.lower()} and has to be a dataset")
    if found.shape is None:
        raise UserError(f"{name} in {path} is empty")
    if found.is_virtual:
        _check_sources(path, name, found)
    return found


def read_rows(data: h5py.Dataset | np.ndarray, name: str, rows: slice = slice(None)) -> np.ndarray:
    """Rows of a column; stored [N, 1] is read as [N] where the column has one axis."""
    stored = data[rows]
    axes = _read_as(name, stored)[2] if name in COLUMNS_READ else stored.ndim
    return stored.reshape(stored.shape[:axes]) if stored.ndim > axes else stored


def dtype_of(name: str, rows: np.ndarray) -> type:
    """The dtype in a batch of some rows of a column."""
    return _read_as(name, rows)[1]


def _read_as(name: str, data: h5py.Dataset | np.ndarray) -> tuple[str, type, int]:
    continuous = name == "actions" and data.ndim == NUMBERS[2] and data.dtype.kind == "f"
    return NUMBERS if continuous else COLUMNS_READ[name]


def _check_version(path: Path, file: h5py.File) -> None:
    stored = file.attrs.get("format_version", 1)
    try:
        version = float(np.asarray(stored).reshape(()) if np.size(stored) != 1 else np.ravel(stored)[0])
    except (TypeError, ValueError):
        raise UserError(f"the attribute format_version of {path} is {shortened(str(stored))} and no number") from None
    if not version < FORMAT_VERSION + 1:
        raise UserError(f"{path} has the format's version {version:g}; this release knows them up to {FORMAT_VERSION}")


def _check_frames(path: Path, frames: h5py.Dataset) -> None:
    shape = list(frames.shape)
    if frames.dtype != np.uint8 or frames.ndim != 4 or shape[3] != 3:
        raise UserError(f"frames in {path} are {frames.dtype} {shape}, not uint8 [N, H, W, 3]{_frames_hint(frames)}")
    if min(shape[1:3]) == 0:
        raise UserError(f"frames in {path} are {shape}: pictures of no size")
    if frames.chunks is not None and not frames.is_virtual:
        needed = itertools.product(*map(range, [0] * frames.ndim, frames.shape, frames.chunks))
        missing = not _written_chunks(frames).issuperset(needed)
    else:
        missing = frames.id.get_storage_size() == 0 and frames.size != 0 and not (frames.is_virtual or frames.external)
    if missing:
        raise UserError(
            f"frames in {path} were not all written: some of its {len(frames):,} rows hold nothing, perhaps since what "
            "wrote them was stopped; write the file again, or shorten it to what is there"
        )


def _written_chunks(data: h5py.Dataset) -> set[tuple[int, ...]]:
    """The offsets of the chunks in the file. HDF5 reads zeros in place of missing ones."""
    written = set()

    def note(chunk: Any) -> None:
        if chunk.byte_offset:  # 0, the beginning of the file, marks an empty entry
            written.add(chunk.chunk_offset)

    data.id.chunk_iter(note)
    return written


def _frames_hint(frames: h5py.Dataset) -> str:
    if frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 1):
        return ": repeat the grey value three times"
    if frames.ndim == 4 and frames.shape[3] == 4:
        return ": leave out the fourth channel"
    if frames.ndim == 4 and frames.shape[1] == 3:
        return ": frames.transpose(0, 2, 3, 1)"
    return ": values from 0 to 255 as uint8" if frames.dtype != np.uint8 else ""


def _check_column(path: Path, name: str, data: h5py.Dataset, num_frames: int) -> None:
    kinds, _, axes = _read_as(name, data)
    shape = data.shape[:-1] if data.ndim == axes + 1 and data.shape[-1] == 1 else data.shape
    if data.dtype.kind not in kinds or len(shape) != axes or shape[0] != num_frames or 0 in shape:
        raise UserError(
            f"{name} in {path} are {data.dtype} {list(data.shape)}: the wrong type or not one for each of the "
            f"{num_frames} frames{_column_hint(name, data)}"
        )
    if name == "objects" and shape[2] != 2:
        raise UserError(f"objects in {path} are {list(shape)}, not [N, O, 2]")


def _column_hint(name: str, data: h5py.Dataset) -> str:
    if name == "actions" and data.dtype.kind in "iu" and data.ndim == 2:
        return "; one-hot actions are written as ids, actions.argmax(1)"
    if name == "actions" and data.dtype.kind == "f" and data.ndim == 1:
        return "; ids are whole numbers, int64 [N], and numbers float32 [N, A]"
    if name == "actions" and data.dtype.kind in "SOU":
        return "; give each text an id, int64 [N], and name the ids in the attribute action_meanings"
    if name == "terminals" and data.dtype.kind == "f":
        return "; they are true or false, bool [N]"
    return ""


def _ends(path: Path, file: h5py.File, num_frames: int) -> np.ndarray:
    data = dataset(path, file, "episode_ends")
    if data is None:
        return np.array([num_frames])
    stored = np.ravel(data[()]) if data.size == max(data.shape, default=1) else data[()]  # [E, 1] is [E]
    wrong = f"episode_ends in {path} do not rise to the number of frames, {num_frames}"
    if stored.ndim != 1 or stored.dtype.kind not in "iuf" or len(stored) == 0 or not np.isfinite(stored).all():
        raise UserError(f"{wrong}: they are {data.dtype} {list(data.shape)} {shortened(str(data[()]))}")
    ends = stored.astype(np.int64)
    if (ends != stored).any() or ends[-1] != num_frames or (np.diff(ends, prepend=0) <= 0).any():
        lengths = "; these are lengths: write np.cumsum of them" if stored.sum() == num_frames else ""
        raise UserError(f"{wrong}{lengths}")
    return ends


def _recordings(path: Path, file: h5py.File, num_episodes: int) -> np.ndarray:
    data = dataset(path, file, "recordings")
    recordings = np.arange(num_episodes) if data is None else data[()]
    if recordings.shape != (num_episodes,) or recordings.dtype.kind not in "iu" or (np.diff(recordings) < 0).any():
        raise UserError(f"recordings in {path} are not {num_episodes} whole numbers in order, one for each episode")
    return recordings.astype(np.int64)


def _fps(path: Path, file: h5py.File) -> float | None:
    if "fps" not in file.attrs:
        return None
    stored: Any = file.attrs["fps"]
    try:
        fps = float(np.ravel(stored)[0]) if np.size(stored) == 1 and not np.iscomplexobj(stored) else np.nan
    except (TypeError, ValueError):
        fps = np.nan
    if not 0 < fps <= FASTEST:
        raise UserError(
            f"the attribute fps of {path} is {shortened(str(stored))}: write how many frames are shown in a second (at "
            f"most {FASTEST:g}), or leave it out and give data.fps="
        )
    return fps


def _object_names(path: Path, file: h5py.File, objects: h5py.Dataset | None) -> list[str]:
    stored: Any = file.attrs.get("object_names", [])
    names = names_in(stored)
    if names is None:
        raise UserError(f"the attribute object_names of {path} is {shortened(str(stored))}, and no list of names")
    if names and objects is not None and len(names) != objects.shape[1]:
        raise UserError(f"{path} names {len(names)} objects and has the places of {objects.shape[1]}")
    return names


def _reaches(part: Any, shape: tuple[int, ...]) -> bool:
    """Whether a data set of a shape contains all rows that a part of a virtual data set takes from it."""
    if part.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return True
    last = part.src_space.get_select_bounds()[1]
    return len(last) == len(shape) and all(place < size for place, size in zip(last, shape, strict=True))


def _check_sources(path: Path, name: str, data: h5py.Dataset) -> None:
    """Raises UserError where rows of a virtual data set come from a missing file, for which HDF5 reads zeros."""
    mapped = 0
    for part in data.virtual_sources():
        needed = part.vspace.get_select_npoints()
        mapped += needed
        if "%b" in part.file_name or part.file_name == ".":  # a pattern of names; this file
            continue
        folders = (path.parent, Path(os.environ.get("HDF5_VDS_PREFIX", ".")), Path())
        places = [folder / part.file_name for folder in folders]
        source = next((place for place in places if place.is_file()), None)
        if source is None:
            raise UserError(f"{name} in {path} are taken from {part.file_name}, which is not there")
        with open_file(source) as other:
            rows = dataset(source, other, part.dset_name)
            if rows is None:
                raise UserError(f"{name} in {path} are taken from {part.dset_name} in {source}, which is not there")
            if needed > rows.size or not _reaches(part, rows.shape):
                raise UserError(f"{name} in {path} are taken from {part.dset_name} in {source}, which has fewer")
    if mapped < (data.size or 0):
        raise UserError(f"{name} in {path} are put together from other files, and not all of them are there")
