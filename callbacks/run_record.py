"""Record of a training, run.json: time, speed, memory, device and versions.

It covers the steps that last.ckpt holds: it is written with each checkpoint, which contains the same entries, and is
continued by a resumed run:

    {"stage": "lam", "steps": 2500, "seconds": 610.2, "validation_seconds": 41.0, "steps_per_second": 4.39,
     "peak_rss_mb": 1480.5, "peak_device_mb": null, "starts": [{"date": …, "from_step": 0, "to_step": 2500, …}]}

`starts` has an entry for each start of the run; the values above it are their sums (times) and maxima (memory, of the
first process where there are several). Work of a killed run after its last checkpoint is not included.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from genie.common.files import not_vital, replacing
from genie.common.profiling import machine, now, peak_device_mb, peak_rss_mb


class RunRecord(Checkpoint):
    """Keeps the run.json `path` of a `stage`; `command`: the command line; `versions`: of the software."""

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
        if is_global_zero:
            with not_vital(self.path), replacing(self.path, "w") as file:
                json.dump(_summary(self.stage, [*self.former, entry]), file, indent=1)

    def _entry(self, trainer: Trainer) -> dict[str, Any]:
        device = trainer.strategy.root_device
        return {
            "date": self.date,
            "from_step": self.from_step,
            "to_step": trainer.global_step,
            "seconds": round(time.monotonic() - self.started, 2),
            "validation_seconds": round(self.validation_seconds, 2),
            "peak_rss_mb": round(peak_rss_mb(), 1),
            "peak_device_mb": None if (peak := peak_device_mb(device)) is None else round(peak, 1),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "machine": machine(),
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
    known = {name: [s[name] for s in starts if s[name] is not None] for name in ("peak_rss_mb", "peak_device_mb")}
    peaks = {name: max(values, default=None) for name, values in known.items()}
    speed = {"steps_per_second": round(steps / training, 3) if steps and training > 0 else None}
    return {"stage": stage, "steps": starts[-1]["to_step"], **total, **speed, **peaks, "starts": starts}
