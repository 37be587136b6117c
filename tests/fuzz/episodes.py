"""Episode files as users bring them: parts of another type, shape or value, missing, links to nothing; bytes cut off.

Each is tried as the only file, as one of a folder, and as one split, with what `genie.train` and `genie.inspect` do
with it. The frames are random, so that those of a clip tell which rows it has to be: each clip is compared with what
h5py reads in these rows, and every clip of the files that nothing was done to has to be there. Of a file that cannot be
used (`refused`) no clip may come: it is a line, or it is left out.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_modules.clip_data_module import ClipDataModule
from genie.datasets.inspect import data_facts, table_of
from tests.fuzz import goods
from tests.fuzz.harness import SilentChange, damaged

LENGTH = 4  # frames of a clip
COLUMNS = ("actions", "rewards", "terminals", "objects")
DECIDED = {"actions", "rewards", "terminals"}
READ = ("frames", *COLUMNS, "episode_ends")
ALL = (*READ, "truncations", "seeds", "hashes")
TYPES = ("i1", "u1", "i4", "u8", "f2", "f4", "f8", "bool", "S3", "c8", "V5", "str")
Columns = dict[str, np.ndarray]


class Episodes:
    """Good files, and a copy of one of them that is spoilt."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.goods = [goods.write_episodes(folder / f"good{seed}.h5", seed) for seed in range(3)]
        self.windows = [windows(path) for path in self.goods]
        self.work = folder / "work"
        self.settings = goods.configuration(
            "inspect", "data=episodes", "data.root=x", "data.image_size=[8,8]", f"data.num_frames={LENGTH}"
        )["data"] | {"val_clips": None}

    def close(self) -> None:
        pass

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        spoilt = self.work / "spoilt"
        shutil.copyfile(self.goods[0], spoilt)
        refused, known = False, {}
        if chance.random() < 0.25:
            content = damaged(chance, spoilt.read_bytes(), note)
            spoilt.write_bytes(content)
        else:
            for _ in range(chance.choice((1, 1, 1, 2))):
                refused = spoil(chance, spoilt, self.goods[0], note)
                if refused:  # what is done after it might mend it
                    break
        if not refused:
            known = windows(spoilt)
        way = chance.choice(("file", "folder", "split"))
        settings = self.settings | {"on_error": chance.choice(("skip", "skip", "raise")),
                                    "in_memory": chance.random() < 0.3}  # fmt: skip
        note(f"{way}, data.on_error={settings['on_error']}{', in memory' if settings['in_memory'] else ''}")
        root, whole = self._placed(chance, way, spoilt)
        module = ClipDataModule(**settings | {"root": str(root)})
        module.setup()
        self._compare(module, known, whole)
        if chance.random() < 0.5:
            facts = data_facts(module, 4)
            table_of(facts)
            for split in facts["splits"].values():
                if "actions" in split and abs(sum(split["actions"].values()) - 1) > 1e-6:
                    raise SilentChange(f"the shares of actions are {split['actions']}")

    def _placed(self, chance: random.Random, way: str, spoilt: Path) -> tuple[Path, list[int]]:
        """Where the data are, and the good files that are all of them in it."""
        if way == "file":
            return spoilt.rename(self.work / "only.h5"), []
        root = self.work / "data"
        root.mkdir()
        places = ["train.h5", "val.h5", "test.h5"] if way == "split" else ["a.h5", "b.h5", "c.h5"]
        chance.shuffle(places)
        spoilt.rename(root / places[0])
        for number in (1, 2):
            shutil.copyfile(self.goods[number], root / places[number])
        return root, [1, 2]

    def _compare(self, module: ClipDataModule, known: dict[bytes, Columns], whole: list[int]) -> None:
        expected = known | {key: value for number in whole for key, value in self.windows[number].items()}
        seen = set()
        for split, dataset in module.datasets.items():
            for index in range(len(dataset)):
                clip = dataset[index]
                if "frames" not in clip:
                    raise SilentChange(f"clip {index} of {split} has no frames")
                key = clip["frames"].numpy().transpose(0, 2, 3, 1).tobytes()
                if key not in expected:
                    raise SilentChange(f"clip {index} of {split} is none that the files hold")
                seen.add(key)
                for name, there in expected[key].items():
                    if name in clip and not same(name, clip[name].numpy(), there):
                        raise SilentChange(f"{name} of clip {index} of {split} are {clip[name].tolist()}, not {there}")
        missing = sum(key not in seen for number in whole for key in self.windows[number])
        if missing:
            raise SilentChange(f"{missing} clips of good files are gone")


def same(name: str, given: np.ndarray, there: np.ndarray) -> bool:
    """Whether a clip has what is stored; on the last frame of an episode, where nothing was decided, it may have 0."""
    if name in DECIDED and given[-1] == 0:
        given, there = given[:-1], there[:-1]
    return np.array_equal(given, there, equal_nan=name == "objects")


def windows(path: Path) -> dict[bytes, Columns]:
    """By the bytes of its frames, what h5py reads in the rows of each clip; of what can be read."""
    found: dict[bytes, Columns] = {}
    try:
        with h5py.File(path) as file:
            frames = file["frames"][()]
            ends = np.ravel(file["episode_ends"][()]) if "episode_ends" in file else np.array([len(frames)])
            columns = {name: column for name in COLUMNS if (column := stored(file, name, len(frames))) is not None}
            start = 0
            for end in ends.astype(int).clip(0, len(frames)):
                for row in range(start, end - LENGTH + 1):
                    rows = slice(row, row + LENGTH)
                    found[frames[rows].tobytes()] = {name: column[rows] for name, column in columns.items()}
                start = end
    except Exception:  # of a file that was spoilt: then nothing of it may come
        return {}
    return found


def stored(file: h5py.File, name: str, count: int) -> np.ndarray | None:
    """A column as a batch has it; None where it cannot be."""
    kinds = {"actions": np.int64, "rewards": np.float32, "terminals": np.bool_, "objects": np.float32}
    if name not in file:
        return None
    values = file[name][()]
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return values.astype(kinds[name]) if len(values) == count else None


# -- what is done to a file -------------------------------------------------------------------------------------------


def spoil(chance: random.Random, path: Path, good: Path, note: Callable[[str], None]) -> bool:
    """Changes one thing in a file; whether it cannot be used with it."""
    with h5py.File(path, "r+") as file:
        if chance.random() < 0.3:
            return odd_attribute(chance, file, note)
        name = chance.choice(READ if chance.random() < 0.85 else ALL)
        if not isinstance(file.get(name), h5py.Dataset):  # changed before
            return False
        ways = (odd_type, odd_shape, odd_values, odd_values, missing, linked, virtual)
        return chance.choice(ways)(chance, file, name, good, note)


def rewrite(file: h5py.File, name: str, data: Any) -> bool:
    """Puts other data in the place of a data set; False where HDF5 does not take them."""
    del file[name]
    try:
        file[name] = data
    except (TypeError, ValueError):
        return False
    return True


def odd_type(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    values, kind = file[name][()], chance.choice(TYPES)
    note(f"{name} of type {kind}")
    with np.errstate(all="ignore"):
        if kind == "str":
            converted: Any = [str(value) for value in values.reshape(-1)]
        elif kind == "V5":
            converted = np.zeros(values.shape, dtype=[("a", "i1"), ("b", "f4")])
        else:
            try:
                converted = values.astype(kind)
            except ValueError:
                converted = np.zeros(values.shape, kind)
    rewrite(file, name, converted)
    return name == "frames" and kind != "u1"


def odd_shape(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    values = file[name][()]
    shapes: dict[str, Callable[[], Any]] = {
        "one shorter": lambda: values[:-1], "one longer": lambda: np.concatenate([values, values[:1]]),
        "[N, 1]": lambda: values[:, None], "twice": lambda: np.stack([values, values], 1),
        "flat": lambda: values.reshape(-1),
        "empty": lambda: values[:0], "a scalar": lambda: values.reshape(-1)[0], "nothing": lambda: h5py.Empty("f4"),
        "axes turned": lambda: np.moveaxis(values, -1, min(1, values.ndim - 1)), "[1, N]": lambda: values[None],
        "no width": lambda: values[..., :0], "one channel": lambda: values[..., :1],
    }  # fmt: skip
    shape = chance.choice(sorted(shapes))
    note(f"{name} {shape}")
    if np.ndim(values) == 0 or values.size == 0:  # changed before
        return False
    changed = shapes[shape]()
    rewrite(file, name, changed)
    return name == "frames" and np.shape(changed) != values.shape


def named(file: h5py.File) -> bool:
    """Whether the file names its actions as a good one does, so that it has no others."""
    return np.array_equal(file.attrs.get("action_meanings", ()), goods.MEANINGS)


def odd_values(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    values = file[name][()]
    if np.ndim(values) == 0 or values.size == 0 or values.dtype.kind not in "iufb":  # changed before
        return False
    if values.dtype.kind == "f":
        odd = chance.choice((np.nan, np.inf, -np.inf, 1e30, -1e30, 0.5, -1))
        bad = name == "rewards" and (not np.isfinite(odd) or abs(odd) >= 1e30)
    else:
        odd = chance.choice((-1, -7, 3, 255, 256, 10**9, 2**40, 0))
        bad = name == "actions" and not 0 <= odd < (len(goods.MEANINGS) if named(file) else np.inf)
        values = values.astype(np.int64) if name != "frames" else values
        odd = odd % 256 if name == "frames" else odd
    place = chance.randrange(len(values))
    if name == "actions" and chance.random() < 0.3:
        note("all actions are one more")
        values, bad = values + 1, named(file)
    else:
        note(f"{name}[{place}] = {odd}")
        values[place] = odd
        ends = np.ravel(file["episode_ends"][()]) if isinstance(file.get("episode_ends"), h5py.Dataset) else []
        bad = bad and place + 1 not in ends  # on the last frame of an episode nothing was decided
    rewrite(file, name, values)
    return bool(bad)


def missing(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    del file[name]
    if chance.random() < 0.5:
        note(f"{name} is a group")
        file.create_group(name)
        return name in READ
    note(f"no {name}")
    return name == "frames"


def linked(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    del file[name]
    kind = chance.choice(("soft", "external", "other"))
    note(f"{name} is a link: {kind}")
    match kind:
        case "soft":
            file[name] = h5py.SoftLink("/nowhere")
        case "external":
            file[name] = h5py.ExternalLink("nowhere.h5", f"/{name}")
        case _:
            file[name] = h5py.ExternalLink(str(good), f"/{name}")
    return kind != "other" and name in READ


def virtual(chance: random.Random, file: h5py.File, name: str, good: Path, note: Callable[[str], None]) -> bool:
    """A data set that HDF5 puts together of another file; of one that is not there it reads zeros."""
    data = file[name]
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    gone = chance.random() < 0.6
    note(f"{name} is virtual, of {'a file that is gone' if gone else 'the good file'}")
    layout[...] = h5py.VirtualSource("gone.h5" if gone else str(good), name, data.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)
    return gone and name in READ


ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "fps": ([10.0], "10 fps", "10", np.nan, np.inf, -1.0, 0.0, 1e30, "", [10.0, 20.0], h5py.Empty("f4"), True, 10),
    "action_meanings": ([], 3, "stay,left,right", '["stay", "left", "right"]', ["stay"], ["a", "b", "c", "d"], "",
                        ["a", "a", "b"], np.array([b"stay", b"left", b"right"]), [1, 2, 3], h5py.Empty("f4"),
                        [["stay", "left", "right"]]),
    "object_names": ([], 3, "ball", ["a", "b"], "", h5py.Empty("f4")),
    "format_version": ("1.0", "x", 3, -1, [1], 1.0, np.nan, h5py.Empty("f4"), 10**12),
    "environment": (3, "", [1, 2], h5py.Empty("f4")),
    "recorder": ("{", "[]", 3, "", "null", h5py.Empty("f4")),
}  # fmt: skip


def odd_attribute(chance: random.Random, file: h5py.File, note: Callable[[str], None]) -> bool:
    name = chance.choice(sorted(ATTRIBUTES))
    if chance.random() < 0.15:
        note(f"no attribute {name}")
        if name in file.attrs:
            del file.attrs[name]
        return False
    value = chance.choice(ATTRIBUTES[name])
    note(f"attribute {name} = {value!r}")
    file.attrs[name] = value
    return name == "fps" and isinstance(value, float) and not 0 < value < np.inf
