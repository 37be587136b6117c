"""Window tables of a data set, and the filter of clips by the quality scores of `genie.curate`.

    quality.csv          part,first,stop,…       rows first … stop - 1 of the part's reader, and further columns
    quality.data.json    {"train": {"rows": 24000, "look": …}}   identity of each part: tables of other data are refused

A part is a split; data that are split on reading have one part, "all". Tables of earlier versions hold the content of
the second file in a first line, after a "#". The column `quality` is about 1 (worst) to 5 (best), and empty where
nothing was rated; the other columns are measured without ratings (`genie/labeling/features.py`).
"""

import base64
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_modules.frame_reader import FrameReader
from data_modules.image_resize import AreaResize
from data_modules.sources import Split
from data_modules.worker_loader import DamagedData
from genie.common.errors import UserError
from genie.common.files import replacing

KEYS = ("part", "first", "stop")
SAMPLES = 8  # frames that identify a data set, by the mean colours of 8 x 8 areas
TOLERANCE = 3  # of these colours: another decoder or size changes them by rounding alone
QUALITY_FILE = "quality.csv"


@dataclass(frozen=True)
class Window:
    """Rows `first` … `stop` - 1 of a part of the data, in one episode."""

    part: str
    first: int
    stop: int


@dataclass
class Table:
    """`data`: the `identity` of each part, empty where it is unknown; `rows`: the other columns of each window."""

    data: dict[str, dict]
    rows: dict[Window, dict[str, str]]


def origin_of(path: Path) -> Path:
    """The file beside a table that identifies its data."""
    return path.with_suffix(".data.json")


def curation_folder(root: Path | str) -> Path:
    """The default folder of a data set's curation files: for data at an address, one beside where the command runs."""
    if "://" in str(root):
        return Path(f"{str(root).rstrip('/').rpartition('/')[2]}_curation")
    root = Path(root)
    return root / "curation" if root.is_dir() else root.with_name(f"{root.stem}_curation")


def parts(splits: dict[str, Split]) -> dict[str, FrameReader]:
    """The readers by the names of their parts."""
    readers = {split: reader for split, (reader, _) in splits.items()}
    first, *others = readers.values()
    return {"all": first} if others and all(reader is first for reader in others) else readers


def identity(reader: FrameReader) -> dict:
    """What identifies the frames of a reader: their number, and thumbnails of some. UserError where there are none."""
    if reader.image_size is None:
        raise UserError(f"{reader.path} has states and no frames: only pictures can be rated and sorted out by quality")
    rows = [number * reader.num_frames // SAMPLES for number in range(SAMPLES)]
    frames = np.concatenate([_frame(reader, row) for row in rows])
    small = AreaResize(frames.shape[1:3], (8, 8))(frames)
    return {"rows": reader.num_frames, "look": base64.b64encode(small.tobytes()).decode()}


def _frame(reader: FrameReader, row: int) -> np.ndarray:
    """uint8 [1, H, W, 3]; black where it cannot be read."""
    assert reader.image_size is not None
    try:
        return reader.frames(row, row + 1)
    except DamagedData:
        return np.zeros((1, *reader.image_size, 3), dtype=np.uint8)


def require_same_data(
    path: Path, data: dict[str, dict], readers: dict[str, FrameReader], command: str = "genie.curate"
) -> None:
    """Raises UserError where a file was made for other data than `readers`; `command` makes the file."""
    way = f"run `python -m {command}` on these data"
    if not data:
        origin = origin_of(path).name
        raise UserError(
            f"{path} does not say of which data it is: copy {origin}, which was written beside it, or {way}"
        )
    for part, reader in readers.items():
        if part not in data:
            raise UserError(f"{path} is of {' and '.join(data)}, not of {part}: {way}")
        then, now = data[part], identity(reader)
        if then["rows"] != now["rows"]:
            raise UserError(f"{path} is of {then['rows']:,} frames, {reader.path} has {now['rows']:,}: {way}")
        before, after = (np.frombuffer(base64.b64decode(one["look"]), np.uint8).astype(int) for one in (then, now))
        if before.shape != after.shape or np.abs(before - after).max() > TOLERANCE:
            raise UserError(f"{path} is of other frames than those of {reader.path}: {way}")


def write_table(path: Path, table: Table, columns: Sequence[str]) -> None:
    """Writes the table and the identity of its data, each atomically. Raises UserError where they cannot be written."""
    try:
        origin, text = origin_of(path), json.dumps(table.data)
        same = origin.is_file() and origin.read_text(encoding="utf-8") == text
        if not same:
            origin.unlink(missing_ok=True)  # the new table must never lie beside the identity of other data
        with replacing(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*KEYS, *columns], lineterminator="\n")
            writer.writeheader()
            for window, values in table.rows.items():
                writer.writerow({key: getattr(window, key) for key in KEYS} | values)
        if not same:
            with replacing(origin, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}): give output= another folder") from error


def read_table(path: Path, columns: Sequence[str], command: str = "genie.curate") -> Table:
    """The table with the named columns; the identity of its data may be missing. `command` writes such tables. Raises
    UserError where the file is missing, lacks a column or has an invalid line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # spreadsheets put a mark of the encoding first
    except FileNotFoundError:
        raise UserError(f"there is no {path}: `python -m {command}` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if lines and lines[0].startswith("#"):
        data = _data(f"the first line of {path}", lines[0][1:])
    else:
        origin = origin_of(path)
        try:
            data = _data(str(origin), origin.read_text(encoding="utf-8"))
        except FileNotFoundError:
            data = {}
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {origin}: {error}") from error
    reader = csv.DictReader(line for line in lines if not line.startswith("#"))
    if missing := {*KEYS, *columns} - set(reader.fieldnames or ()):
        raise UserError(f"{path} has no column {', '.join(sorted(missing))}")
    rows = {}
    for line in reader:
        try:
            window = Window(line["part"], int(line["first"]), int(line["stop"]))
            rows[window] = {name: line[name].strip() for name in columns}
        except (TypeError, ValueError, AttributeError):
            raise UserError(f"{path} has a line that is no window: {','.join(map(str, line.values()))}") from None
    return Table(data, rows)


def _data(what: str, text: str) -> dict[str, dict]:
    try:
        data = json.loads(text)
        for one in data.values():
            int(one["rows"])
            base64.b64decode(one["look"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{what} does not say of which data the table is: make it anew") from None
    return data


class GoodWindows:
    """Reduces splits to windows of sufficient quality: `data.quality`, `data.min_quality`, `data.quality_splits`.
    Without `min_quality` nothing is read or left out."""

    def __init__(self, path: str | None, min_quality: float | None, chosen: Sequence[str]):
        self.path, self.min_quality, self.chosen = path, min_quality, chosen

    def of(self, splits: dict[str, Split], root: Path | str) -> tuple[dict[str, Split], dict[str, tuple[int, int]]]:
        """The splits with the stretches of sufficient quality, and (their frames, all frames) of each reduced split.
        Raises UserError where the scores are missing, of other data, without qualities, or leave nothing."""
        if self.min_quality is None:
            return splits, {}
        path = Path(self.path) if self.path else curation_folder(root) / QUALITY_FILE
        table, readers = read_table(path, ["quality"]), parts(splits)
        part_of = {split: "all" if "all" in readers else split for split in self.chosen if split in splits}
        require_same_data(path, table.data, {part: readers[part] for part in part_of.values()})
        quality = {window: _number(path, row["quality"]) for window, row in table.rows.items()}
        reduced, kept = dict(splits), {}
        for split, part in part_of.items():
            reader, episodes = splits[split]
            scored = {(window.first, window.stop): value for window, value in quality.items() if window.part == part}
            good = sorted(rows for rows, value in scored.items() if value >= self.min_quality)
            stretches = covered(episodes, np.array(good, dtype=np.int64).reshape(-1, 2))
            if not len(stretches):
                best = max(scored.values(), default=float("nan"))
                raise UserError(
                    f"data.min_quality={self.min_quality} leaves nothing of {split}: the best of {path} is {best:.2f}"
                )
            reduced[split] = reader, stretches
            kept[split] = _count(stretches), _count(episodes)
        return reduced, kept


def covered(episodes: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """int64 [K, 2]: the stretches of episodes [E, 2] that windows [W, 2] cover; both are sorted and without overlap."""
    stretches: list[list[int]] = []
    for first, end in episodes.tolist():
        low = np.searchsorted(windows[:, 1], first, side="right")
        high = np.searchsorted(windows[:, 0], end, side="left")
        for start, stop in windows[low:high].clip(first, end).tolist():
            if start > first and stretches and stretches[-1][1] == start:
                stretches[-1][1] = stop
            else:
                stretches.append([start, stop])
    return np.array(stretches, dtype=np.int64).reshape(-1, 2)


def _count(stretches: np.ndarray) -> int:
    return int((stretches[:, 1] - stretches[:, 0]).sum())


def _number(path: Path, quality: str) -> float:
    try:
        return float(quality)
    except ValueError:
        way = "rate clips with `python -m genie.curate step=label`, then train and score"
        raise UserError(f"{path} has windows without a quality: {way}") from None
