"""Recording a data set that is not there, for the commands that need one."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from data_modules.recorder import SPLITS


def has_data(data: dict[str, Any]) -> bool:
    """Whether `root` of the group `data` is a file, or a folder with some split in it."""
    root = Path(data["root"])
    return root.is_file() or any((root / f"{split}.h5").exists() for split in SPLITS)


def record_missing(data: dict[str, Any]) -> None:
    """Records the data set of a resolved group `data` where there is none, and says so."""
    if not has_data(data):
        from genie.record import record

        print(f"there is no data in {data['root']}: recording it", flush=True)
        record(OmegaConf.create(data))
