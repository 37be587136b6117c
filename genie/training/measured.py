"""Cost of a command, run as `python -m genie.training.measured cost.json genie.train stage=lam`.

`cost.json`: the `seconds` of all its sessions together, their highest `peak_mb`, and the last `command`. A session that
is killed outright is not counted.
"""

import json
import runpy
import sys
import time
from pathlib import Path

from genie.common.files import read_json, replacing
from genie.common.profiling import peak_device_mb, peak_rss_mb


def main() -> None:
    file, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    started = time.monotonic()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        note(Path(file), time.monotonic() - started, peak_mb(), [module, *arguments])


def peak_mb() -> float:
    """Peak memory of this process in units of 2^20 bytes: on the GPU where it has used one, otherwise in RAM (with
    PyTorch itself)."""
    return peak_device_mb() or peak_rss_mb()


def note(file: Path, seconds: float, peak: float, command: list[str]) -> None:
    before = read_cost(file)
    cost = {
        "seconds": round(before.get("seconds", 0) + seconds, 1),
        "peak_mb": round(max(before.get("peak_mb", 0), peak), 1),
        "command": command,
    }
    with replacing(file, "w") as out:
        json.dump(cost, out, indent=1)


def read_cost(file: Path) -> dict:
    """What `note` has written; {} where nothing was measured, or the file is damaged."""
    return read_json(file) or {}


if __name__ == "__main__":
    main()
