"""Description of a LeRobot data set (its folder `meta`): features, cameras, episodes, splits.

Version 3.0 of the format has many episodes in a Parquet file and in a video, and a table of them in `meta/episodes`;
2.0 and 2.1 have one of each for an episode, and JSON lines.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.action_ids import listed, shortened
from genie.common.errors import UserError, reason
from genie.common.settings.kinds import unprintable

INFO = Path("meta/info.json")
KNOWN = "2.0, 2.1 and 3.0"
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Feature:
    """dtype: "float32", "video", "image", …; names: of its numbers, None where there is not one for each."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None

    @property
    def size(self) -> int | None:
        """The numbers of a vector, 1 of a scalar; None for what has more axes."""
        return self.shape[0] if len(self.shape) == 1 else 1 if not self.shape else None


@dataclass(frozen=True)
class Episode:
    """data: the Parquet file with its rows. video: with its frames, from `start` seconds on; None where pictures are in
    the rows. Paths are below the root."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: str
    video: str | None
    start: float


class LeRobotMeta:
    """The folder `meta` of a data set. Raises UserError where it cannot be read."""

    def __init__(self, root: Path):
        self.root = root
        self.info = self._read_info()
        self.version = self._version()
        self.fps = self._fps()
        self.features = self._features()
        self.cameras = {key: one for key, one in self.features.items() if one.dtype in ("video", "image")}

    # -- info.json ----------------------------------------------------------------------------------------------------

    def _read_info(self) -> dict[str, Any]:
        path = self.root / INFO
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"there is no {path}: give data.root=, the folder of a LeRobot data set") from None
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"cannot read {path}: {reason(error)}") from error
        if not isinstance(info, dict):
            raise UserError(f"{path} is {shortened(str(info))}, and has to be an object")
        return info

    def _version(self) -> int:
        stored = str(self.info.get("codebase_version"))
        if stored in ("v2.0", "v2.1", "v3.0"):
            return int(stored[1])
        older = stored.startswith(("v0.", "v1."))
        way = "LeRobot's scripts convert it (`convert_dataset_v1_to_v2`, …)" if older else "update genie-world"
        raise UserError(f"{self.root / INFO} has codebase_version {shortened(stored)}, known are {KNOWN}: {way}")

    def _fps(self) -> float:
        fps = self.info.get("fps")
        if not isinstance(fps, int | float) or not 0 < fps <= 1000:
            raise UserError(f"{self.root / INFO} has fps {shortened(str(fps))}: it has to be the frames of a second")
        return float(fps)

    def _features(self) -> dict[str, Feature]:
        stored: Any = self.info.get("features")
        try:
            found = {}
            for key, one in dict(stored).items():
                shape = tuple(map(int, one["shape"]))
                found[str(key)] = Feature(str(key), str(one["dtype"]), shape, _names(one.get("names"), shape))
            return found
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = shortened(str(stored))
            raise UserError(f"{self.root / INFO} has features {text}: each has a dtype and a shape") from error

    def camera(self, chosen: str | None) -> Feature | None:
        """The camera of a name, which may lack what is before its last dot; None: the only one, or none where there is
        none. Raises UserError where it is not clear which."""
        if chosen is None and len(self.cameras) < 2:
            return next(iter(self.cameras.values()), None)
        short = [key for key in self.cameras if key.rpartition(".")[2] == chosen]
        if chosen in self.cameras or len(short) == 1:
            return self.cameras[chosen if chosen in self.cameras else short[0]]
        names = ", ".join(key for key in self.cameras) or "none"
        what = f"there is no data.lerobot.camera={chosen}" if chosen else "there are several cameras"
        way = f": give data.lerobot.camera={next(iter(self.cameras)).rpartition('.')[2]}" if self.cameras else ""
        raise UserError(f"{what} in {self.root}: its cameras are {names}{way}")

    def numbers(self, option: str, chosen: str | None, usual: str) -> Feature | None:
        """The feature of numbers that `data.lerobot.<option>` chooses: its key; "auto": `usual`, where there is one;
        None: none. Raises UserError where there is no such feature of numbers."""
        if chosen is None or (chosen == "auto" and usual not in self.features):
            return None
        key = usual if chosen == "auto" else chosen
        found = self.features.get(key)
        if found is None or found.size is None or np.dtype(_numpy(found.dtype)).kind not in "biuf":
            vectors = [one.key for one in self.features.values() if one.size and one.dtype.startswith(("float", "int"))]
            what = f"is {found.dtype} {list(found.shape)}" if found else "is no feature"
            raise UserError(
                f"data.lerobot.{option}={chosen}: {key} {what} of {self.root}; vectors of numbers are {listed(vectors)}"
            )
        return found

    def splits(self, episodes: list[Episode]) -> dict[str, set[int]]:
        """The episodes of each split of `info.json`, by index; {} where it has none but "train". Raises UserError for
        one that is no range."""
        stored = self.info.get("splits") or {}
        found: dict[str, set[int]] = {}
        for name, text in dict(stored).items() if isinstance(stored, dict) else ():
            split = SPLIT_NAMES.get(str(name))
            first, _, end = str(text).partition(":")
            if not (first.isdecimal() and end.isdecimal()):
                raise UserError(f'{self.root / INFO} has the split {name} {shortened(str(text))}, and no "first:end"')
            if split is not None:
                found[split] = found.get(split, set()) | {e.index for e in episodes if int(first) <= e.index < int(end)}
        return found if found.keys() - {"train"} else {}

    # -- episodes -----------------------------------------------------------------------------------------------------

    def episodes(self, camera: Feature | None) -> list[Episode]:
        """All episodes by index, with the videos of a camera. Raises UserError where there are none, or some are there
        twice."""
        key = camera.key if camera is not None and camera.dtype == "video" else None
        found = self._of_version_3(key) if self.version == 3 else self._of_version_2(key)
        found.sort(key=lambda episode: episode.index)
        if not found:
            raise UserError(f"{self.root} has no episodes")
        for one, other in zip(found, found[1:], strict=False):
            if one.index == other.index:
                raise UserError(f"{self.root / 'meta'} has the episode {one.index} twice")
        return found

    def _of_version_3(self, key: str | None) -> list[Episode]:
        data, video = self._pattern("data_path"), self._pattern("video_path") if key else None
        columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
        columns += [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")] if key else []
        paths = sorted((self.root / "meta/episodes").glob("*/*.parquet"))
        if not paths:
            raise UserError(
                f"there are no Parquet files in {self.root / 'meta/episodes'}: the data set is not complete"
            )
        found = []
        for path in paths:
            for row, one in enumerate(read_table(path, columns)):
                values = [one[column] for column in columns]
                wrong = next((c for c in columns if c != "tasks" and not _is_place(c, one[c])), None)
                if wrong is not None:
                    raise UserError(f"{path}, row {row}: {wrong} is {shortened(str(one[wrong]))}, and no such number")
                index, length, tasks, chunk, file, *of_video = values
                place, start = None, 0.0
                if video is not None:
                    place = self._filled("video_path", video, of_video[0], of_video[1], index, key)
                    start = float(of_video[2])
                place_of_data = self._filled("data_path", data, chunk, file, index, key)
                found.append(Episode(index, length, _tasks(tasks), place_of_data, place, start))
        return found

    def _of_version_2(self, key: str | None) -> list[Episode]:
        data, video = self._pattern("data_path"), self._pattern("video_path") if key else None
        size = self.info.get("chunks_size")
        if not isinstance(size, int) or size < 1:
            raise UserError(f"{self.root / INFO} has chunks_size {shortened(str(size))}, and no number of episodes")
        path, found = self.root / "meta/episodes.jsonl", []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {reason(error)}") from error
        for number, line in enumerate(lines, 1):
            try:
                one: Any = json.loads(line) if line.strip() else {}
                index, length, tasks = one.get("episode_index"), one.get("length"), one.get("tasks")
            except (ValueError, AttributeError, RecursionError) as error:
                raise UserError(f"{path}, line {number} is no JSON object: {shortened(line)}") from error
            if not one:
                continue
            if not (_is_place("episode_index", index) and _is_place("length", length)):
                raise UserError(f"{path}, line {number} has no episode_index and length: {shortened(line)}")
            chunk = index // size
            place = video and self._filled("video_path", video, chunk, index, index, key)
            place_of_data = self._filled("data_path", data, chunk, index, index, key)
            found.append(Episode(index, length, _tasks(tasks), place_of_data, place, 0.0))
        return found

    def _pattern(self, name: str) -> str:
        pattern = self.info.get(name)
        if not isinstance(pattern, str) or unprintable(pattern):
            raise UserError(f"{self.root / INFO} has {name} {shortened(ascii(pattern))}, and no pattern of paths")
        return pattern

    def _filled(self, name: str, pattern: str, chunk: int, file: int, episode: int, key: str | None) -> str:
        try:
            return pattern.format(chunk_index=chunk, file_index=file, episode_chunk=chunk, episode_index=episode,
                                  video_key=key)  # fmt: skip
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.root / INFO} has the {name} {shortened(pattern)}, which is no pattern of paths"
            ) from error


def require_pyarrow() -> None:
    """Raises UserError where the package is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError("data=lerobot needs the package pyarrow: pip install 'genie-world[lerobot]'") from None


def read_table(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of some columns of a small Parquet file. Raises UserError where it cannot be read or lacks one."""
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [column for column in columns if column not in names]
            if missing:
                raise UserError(f"{path} has no column {missing[0]}, only {listed(names)}")
            return file.read(columns).to_pylist()
    except UserError:
        raise
    except Exception as error:  # pyarrow raises errors of many kinds for damaged files
        raise UserError(f"{path} cannot be read: {shortened(reason(error))}") from error


def _names(stored: Any, shape: tuple[int, ...]) -> list[str] | None:
    """A name for each number of a vector: a list, or lists by part, {"motors": […]}."""
    parts = list(stored.values()) if isinstance(stored, dict) else [stored]
    names = [name for part in parts for name in (part if isinstance(part, list) else [part])]
    texts = all(isinstance(name, str) and name and not unprintable(name) for name in names)
    valid = texts and len(shape) == 1 and len(names) == shape[0]
    return names if valid and len(set(names)) == len(names) else None


def _numpy(dtype: str) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        return "object"


def _is_place(column: str, value: Any) -> bool:
    """Whether a value is a number from 0 on, and a whole one unless it is a time."""
    kinds = int | float if column.endswith("_timestamp") else int
    return isinstance(value, kinds) and 0 <= value < 2**53


def _tasks(stored: Any) -> tuple[str, ...]:
    """The texts; what cannot be printed is replaced."""
    texts = stored if isinstance(stored, list) else ()
    return tuple(str(text).encode(errors="replace").decode() for text in texts)
