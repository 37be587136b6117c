"""Checkpoint callbacks: atomic writes, `last.ckpt` for exact resumption, and `best.ckpt`.

`last.ckpt` holds a finished step: it is written after a validation that follows the step, and after the step's row of
metrics.csv, so that a resumed run neither repeats nor loses a row. Files: `genie/runs/checkpoint_store.py`.

A save that fails because of the disk (full, a quota, no permission) leaves all former files, and training continues,
since the next save may succeed; only a failure of the last save of a run is an error.

`best.ckpt` replaces Lightning's `ModelCheckpoint`, which loses the best value when the run folder is moved and takes a
failed save for a successful one.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from callbacks.metrics_csv import log_step, sync_loggers
from genie.common.errors import RunError, UserError, reason, warn
from genie.common.files import TEMPORARY
from genie.runs.checkpoint_store import BEST, LAST, keep_as_last, publish, step_path
from genie.runs.loading import read_checkpoint
from genie.runs.sharded_checkpoint import read_sharded
from genie.stages.base import accumulating


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, syncs, renames: `kill -9` leaves the old file or the new one.

    Lightning's own goes through $TMPDIR, a copy that can be cut short on another file system. `failure`: why the last
    save failed, None if it succeeded; nothing is raised, because the other processes wait for this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: str | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO writes local files and takes no storage options")
        path = Path(path)
        temporary = path.with_name(f".{path.name}{TEMPORARY}{os.getpid()}")
        self.failure = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                write(checkpoint, file)
            publish(temporary, path)
        except OSError as error:
            self.note_failure(path, error)
        finally:
            temporary.unlink(missing_ok=True)

    def note_failure(self, path: Path, error: OSError) -> None:
        """Reports that a checkpoint could not be written."""
        self.failure = reason(error)
        warn(f"{path} could not be saved ({self.failure}); the checkpoints before it are as they were")

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Reads a file, or the folder of a sharded training."""
        path = Path(path)
        return read_sharded(path) if path.is_dir() else super().load_checkpoint(path, *arguments, **options)


def failed_here(trainer: Trainer) -> bool:
    """Whether this process failed to write the last checkpoint."""
    return getattr(trainer.strategy.checkpoint_io, "failure", None) is not None


def write(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """`torch.save` that raises the disk's own errors instead of torch's."""
    watched = _Watched(file)
    try:
        torch.save(checkpoint, watched)
    except Exception as error:
        raise watched.error or error from None


class _Watched:
    """A file that keeps the first error of the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.error = file, None

    def write(self, data: Any) -> int:
        return self._call(self.file.write, data)

    def flush(self) -> None:
        self._call(self.file.flush)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OSError as error:
            self.error = self.error or error
            raise


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`: every n steps, after each validation and after the last step.

    The newest `keep` states stay, each under its step.
    """

    def __init__(self, folder: Path, every_n_train_steps: int, keep: int):
        self.folder, self.path = folder, folder / LAST
        self.every_n_train_steps, self.keep = every_n_train_steps, keep
        self.saved_step = self.num_failures = 0

    def save_step(self, trainer: Trainer) -> None:
        """Writes the state, on all ranks, at the end of a batch that finished a step and that no validation follows."""
        log_step(trainer)
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the current state; all of its rows have to be logged already."""
        sync_loggers(trainer)
        path = step_path(self.folder, trainer.global_step)
        trainer.save_checkpoint(path, weights_only=False)
        failed = failed_here(trainer)
        if trainer.is_global_zero and not failed:
            try:
                keep_as_last(path, self.keep)
            except OSError as error:
                failed = True
                warn(f"{self.path} could not be renewed ({reason(error)})")
        if trainer.strategy.reduce_boolean_decision(failed, all=False):
            self.num_failures += 1
        else:
            self.saved_step = trainer.global_step

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.saved_step = trainer.global_step  # of a resumed run

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        due = step % self.every_n_train_steps == 0 or step == trainer.max_steps
        if due and step != self.saved_step and not accumulating(trainer) and not validation_follows(trainer):
            self.save_step(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not accumulating(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step != self.saved_step:
            self.save(trainer)
        if trainer.global_step != self.saved_step:
            held = f"{self.path} holds step {self.saved_step}" if self.saved_step else f"there is no {self.path}"
            lost = f"step {trainer.global_step}, the last one, could not be saved, and {held}"
            raise RunError(f"{lost}: make room on the disk and go on with resume=true")
        if self.num_failures and trainer.is_global_zero:
            warn(f"{self.num_failures} times a checkpoint could not be saved")

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Turns a state saved after a validation into that at the end of its training batch.

        Lightning skips the validation of such a state only where one is due by the interval. After a last step, or with
        another interval than before, it would take the batch for a new one and count one step twice.
        """
        loop = checkpoint["loops"]["fit_loop"]
        progress = loop["epoch_loop.batch_progress"]
        counted = loop["epoch_loop.state_dict"]["_batches_that_stepped"] == checkpoint["global_step"]
        if not counted and progress["current"]["completed"] == progress["current"]["processed"]:
            for part in ("total", "current"):
                progress[part]["completed"] -= 1


class ValidateLastStep(Checkpoint):
    """Validates after the last step, wherever it falls between two validations."""

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if trainer.max_steps >= 0 and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates before it stops


def validation_follows(trainer: Trainer) -> bool:
    """At the end of a training batch: whether a validation comes before the next one."""
    if not trainer.enable_validation:
        return False
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return trainer.should_stop or batches % trainer.val_check_batch == 0


class BestCheckpoint(Checkpoint):
    """Keeps `best.ckpt` of `folder`: the state with the lowest ("min") or highest ("max") `monitor` in validation.

    Every checkpoint contains the best value and its step. A run that resumes from a step before best.ckpt takes them
    from that file, and starts without a best value where the file is gone.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        self.path, self.monitor, self.mode = folder / BEST, monitor, mode
        self.score: float | None = None
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"monitor": self.monitor, "mode": self.mode, "score": self.score, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode):
            self.score, self.step = state_dict["score"], state_dict["step"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.global_step:
            self._read_file(trainer.global_step)
        self.score, self.step = trainer.strategy.broadcast((self.score, self.step))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        found = trainer.callback_metrics
        if self.monitor not in found and any(getattr(one, "has_failed", False) for one in trainer.callbacks):
            return  # held-out clips could not be evaluated, as was said
        if self.monitor not in found:
            names = ", ".join(sorted(name for name in found if name.startswith(("val/", "rollout/"))))
            raise UserError(f"callbacks.checkpoint.monitor={self.monitor} is not logged by a validation: {names} are")
        value = trainer.strategy.broadcast(float(found[self.monitor]))
        if not self._is_better(value):
            return
        former = self.score, self.step
        self.score, self.step = value, trainer.global_step  # stored in the file
        trainer.save_checkpoint(self.path, weights_only=False)
        if trainer.strategy.reduce_boolean_decision(failed_here(trainer), all=False):
            self.score, self.step = former

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        return self.score is None or (value < self.score if self.mode == "min" else value > self.score)

    def _read_file(self, global_step: int) -> None:
        try:
            checkpoint = read_checkpoint(self.path, peek=True)
            record = checkpoint["callbacks"][self.state_key]
            if checkpoint["global_step"] > global_step:  # written after the state that this run resumes from
                self.load_state_dict(record)
        except (UserError, KeyError, TypeError):
            self.score, self.step = None, 0
