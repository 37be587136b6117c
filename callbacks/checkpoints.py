"""Checkpoints that are there whole or not at all, and go on exactly where the run was.

`last.ckpt` holds a finished step: where a validation follows the step, it is written after it, so that a
resumed run neither repeats nor loses a row of metrics.csv. `best.ckpt` is Lightning's `ModelCheckpoint`.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from genie.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, syncs, renames: `kill -9` leaves the old file or the new one.

    Lightning's own goes through $TMPDIR; over a file system boundary that is a copy which can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO writes local files and takes no storage options")
        with replacing(path) as file:
            torch.save(checkpoint, file)


def best_checkpoint(folder: Path, monitor: str, mode: str) -> ModelCheckpoint:
    """Keeps `best.ckpt`: the state in which validation found `monitor` lowest ("min") or highest ("max")."""
    return ModelCheckpoint(
        folder,
        "best",
        monitor=monitor,
        mode=mode,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: every n steps, after each validation and after the last step."""

    def __init__(self, folder: Path, every_n_train_steps: int):
        self.path, self.every_n_train_steps = folder / "last.ckpt", every_n_train_steps
        self.saved_step = 0

    def save(self, trainer: Trainer) -> None:
        """Writes the state as it is now; call it on all ranks, at the end of a batch or of a validation."""
        trainer.save_checkpoint(self.path, weights_only=False)
        self.saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        due = step % self.every_n_train_steps == 0 and step != self.saved_step
        if due and not accumulating(trainer) and not validation_follows(trainer):
            self.save(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not accumulating(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self.saved_step:
            self.save(trainer)

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Makes a state that was saved after a validation that of the end of its training batch.

        Lightning skips the validation of such a state only where one would be due by the interval. After a last
        step, or with another interval than before, it takes the batch for a new one and numbers one step twice.
        """
        loop = checkpoint["loops"]["fit_loop"]
        progress = loop["epoch_loop.batch_progress"]
        counted = loop["epoch_loop.state_dict"]["_batches_that_stepped"] == checkpoint["global_step"]
        if not counted and progress["current"]["completed"] == progress["current"]["processed"]:
            for part in ("total", "current"):
                progress[part]["completed"] -= 1


class ValidateLastStep(Checkpoint):
    """Lets a validation follow the last step, wherever it falls between two validations."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.max_steps >= 0 and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


def validation_follows(trainer: Trainer) -> bool:
    """At the end of a training batch: whether a validation comes before the next one."""
    if not trainer.enable_validation:
        return False
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return trainer.should_stop or batches % trainer.val_check_batch == 0


def accumulating(trainer: Trainer) -> bool:
    """At the end of a batch: whether its gradients wait for more batches, so that no step is finished."""
    return trainer.fit_loop._should_accumulate()
