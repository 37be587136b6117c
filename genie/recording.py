"""Recording a data set that is not there, for the commands that need one."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from data_modules.episode_file import SPLITS
from genie.one_writer import one_writer


def missing_splits(data: dict[str, Any]) -> list[str]:
    """The splits that a group `data` says how to record and that its `root` does not hold.

    A file, and data that are not recorded here, lack nothing.
    """
    root = Path(data["root"])
    if root.is_file() or "env" not in (data["recorder"] or {}):  # debug=fast gives all data some settings of a recorder
        return []
    return [split for split in SPLITS if not (root / f"{split}.h5").exists()]


def record_missing(data: dict[str, Any]) -> None:
    """Records the splits of a resolved group `data` that are not there, and says so."""
    if not missing_splits(data):
        return
    from genie.record import record

    with one_writer(data["root"], "data.root=", wait=True):
        splits = missing_splits(data)  # another process may have recorded them in the meantime
        if splits:
            print(f"there is no {', '.join(splits)} data in {data['root']}: recording it", flush=True)
            record(OmegaConf.create(data), splits=splits)
