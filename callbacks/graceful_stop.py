"""Stopping a run from outside without losing work: SIGTERM, SIGUSR1 (clusters) and Ctrl-C.

A handler only sets a flag. At the end of the step, on all ranks if any rank was told, `last.ckpt` is written;
the run leaves before the next step, when the step's metrics (and validation, where one is due) are there too.
A second signal leaves at once. Exit codes are the shell's: 143 after SIGTERM or SIGUSR1, 130 after Ctrl-C.

Lightning's own SIGTERM handler communicates between ranks inside the handler, hangs when only one gets the
signal, and exits with 0; this one takes its place.
"""

import signal
import sys
import threading
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from callbacks.checkpoints import LastCheckpoint, accumulating

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAME_REQUEST_SECONDS = 2.0  # a terminal and a parent process may both pass on the same Ctrl-C


class Stopped(SystemExit):
    """The run was told to stop and has saved its state."""


class GracefulStop(Checkpoint):
    """Saves and leaves when told to. `how_to_resume` is the command that the message on stderr names."""

    def __init__(self, last: LastCheckpoint, how_to_resume: str):
        self.last, self.how_to_resume = last, how_to_resume
        self.received: signal.Signals | None = None
        self.received_at = 0.0
        self.stopping = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in SIGNALS:  # Lightning has set its own just before, and puts the first ones back at the end
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self.received_at = signal.Signals(number), now
        elif now - self.received_at > SAME_REQUEST_SECONDS:
            raise Stopped(exit_code(number))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if accumulating(trainer):
            return
        self.stopping = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
        if self.stopping and self.last.saved_step != trainer.global_step:
            self.last.save(trainer)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self.stopping:
            return
        name = (self.received or signal.SIGTERM).name
        if trainer.is_global_zero:
            message = f"stopped by {name} at step {trainer.global_step}, saved in {self.last.path}"
            print(f"\n{message}\nto go on: {self.how_to_resume}", file=sys.stderr, flush=True)
        raise Stopped(exit_code(self.received or signal.SIGTERM))


def exit_code(number: int) -> int:
    """130 for Ctrl-C, else 143: what a shell reports, and what schedulers take for a clean end on request."""
    return 130 if number == signal.SIGINT else 143
