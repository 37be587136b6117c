"""Recording a data set that is not there, for the commands that need one."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
from omegaconf import OmegaConf

from data_modules.formats.episodes import SPLITS
from genie.common.folder_lock import one_writer


def missing_splits(data: dict[str, Any]) -> list[str]:
    """The splits that a group `data` says how to record and that its `root` does not hold.

    A file, and data that are not recorded here, lack nothing.
    """
    return [split for split in SPLITS if not (Path(data["root"]) / f"{split}.h5").exists()] if _records(data) else []


def _records(data: dict[str, Any]) -> bool:
    """Whether a group `data` says how to record; debug=fast gives all data some settings of a recorder."""
    return not Path(data["root"]).is_file() and "env" in (data["recorder"] or {})


def shorter_splits(data: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The splits in `root` that hold fewer frames than a group `data` would record: how many, and how many it would."""
    found = {}
    for split, wanted in data["recorder"].get("num_frames", {}).items() if _records(data) else ():
        path = Path(data["root"]) / f"{split}.h5"
        if path.exists():
            with suppress(OSError, KeyError, TypeError, ValueError, IndexError), h5py.File(path) as file:
                held = int(file["episode_ends"][-1])  # a damaged file is named when it is read
                if held < wanted:
                    found[split] = held, wanted
    return found


def record_missing(data: dict[str, Any]) -> None:
    """Records the splits of a resolved group `data` that are not there, and says so, and which are shorter than it
    asks for."""
    for split, (held, wanted) in shorter_splits(data).items():
        print(
            f"{data['root']} holds {held:,} {split} frames and is used as it is; data.recorder.num_frames.{split} is "
            f"{wanted:,}: another data.root= records as many",
            flush=True,
        )
    if not missing_splits(data):
        return
    from genie.record import record

    with one_writer(data["root"], "data.root=", wait=True):
        splits = missing_splits(data)  # another process may have recorded them in the meantime
        if splits:
            print(f"there is no {', '.join(splits)} data in {data['root']}: recording it", flush=True)
            record(OmegaConf.create(data), splits=splits)
