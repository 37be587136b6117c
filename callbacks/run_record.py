"""run.json: what a training took. Time, speed, memory, device and versions, of the steps that last.ckpt holds.

It is written with each checkpoint, which carries the same entries, and goes on where a run is resumed:

    {"stage": "lam", "steps": 2500, "seconds": 610.2, "validation_seconds": 41.0, "steps_per_second": 4.39,
     "peak_rss_mb": 1480.5, "peak_device_mb": null, "starts": [{"date": …, "from_step": 0, "to_step": 2500, …}]}

`starts` has an entry for each start (the first one, and each time the run was resumed); the figures above it are their
sums (times) and maxima (memory, of the first process where there are several). Work after the last checkpoint of a
killed run is in none of them, as its steps are not.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from genie.common.files import not_vital, replacing
from genie.common.profiling import now, peak_device_mb, peak_rss_mb


class RunRecord(Checkpoint):
    """Keeps `path` (run.json) of the stage of that name. `command`: the command line; `versions`: of the software."""

    def __init__(self, path: Path, stage: str, command: str, versions: dict[str, str]):
        self.path, self.stage, self.command, self.versions = path, stage, command, versions
        self.former: list[dict[str, Any]] = []
        self.validation_seconds = 0.0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.started = time.monotonic()
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.date, self.from_step = now(), trainer.global_step
        self.write(self._entry(trainer), trainer.is_global_zero)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.validation_started = time.monotonic()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.validation_seconds += time.monotonic() - self.validation_started

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        entry = self._entry(trainer)
        checkpoint["callbacks"][self.state_key] = {"starts": [*self.former, entry]}
        self.write(entry, trainer.is_global_zero)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.former = state_dict["starts"]

    def write(self, entry: dict[str, Any], is_global_zero: bool) -> None:
        """Writes the file with `entry` for this start."""
        if is_global_zero:
            with not_vital(self.path), replacing(self.path, "w") as file:
                json.dump(_summary(self.stage, [*self.former, entry]), file, indent=1)

    def _entry(self, trainer: Trainer) -> dict[str, Any]:
        """This start, as things are now."""
        device = trainer.strategy.root_device
        return {
            "date": self.date,
            "from_step": self.from_step,
            "to_step": trainer.global_step,
            "seconds": round(time.monotonic() - self.started, 2),
            "validation_seconds": round(self.validation_seconds, 2),
            "peak_rss_mb": _rounded(peak_rss_mb()),
            "peak_device_mb": _rounded(peak_device_mb(device)),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": trainer.world_size,
            "threads": torch.get_num_threads(),
            "precision": trainer.precision,
            "command": self.command,
            "versions": self.versions,
        }


def _summary(stage: str, starts: list[dict[str, Any]]) -> dict[str, Any]:
    steps = sum(start["to_step"] - start["from_step"] for start in starts)
    total = {name: round(sum(start[name] for start in starts), 2) for name in ("seconds", "validation_seconds")}
    training = total["seconds"] - total["validation_seconds"]
    peaks = {
        name: max((start[name] for start in starts if start[name] is not None), default=None)
        for name in ("peak_rss_mb", "peak_device_mb")
    }
    speed = {"steps_per_second": round(steps / training, 3) if steps and training > 0 else None}
    return {"stage": stage, "steps": starts[-1]["to_step"], **total, **speed, **peaks, "starts": starts}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
