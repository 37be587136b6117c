"""Graceful stop on SIGTERM, SIGUSR1 (clusters) and Ctrl-C, and requeueing of SLURM jobs.

A handler only sets a flag. At the end of the step, on all ranks if any rank got the signal, `last.ckpt` is written; the
run exits before the next step, when the step's metrics (and validation, where one is due) are written too. A second
signal exits at once. Exit codes are the shell's: 143 after SIGTERM or SIGUSR1, 130 after Ctrl-C. In a SLURM job the
first process also requeues the job, for the signals in `requeue_on`; the job's command has to contain resume=true,
which starts from the first step where there is nothing to resume.

Lightning's own SIGTERM handler communicates between ranks inside the handler, hangs when only one gets the signal, and
exits with 0; this one replaces it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from callbacks.checkpoints import LastCheckpoint, validation_follows
from genie.common.program import as_started
from genie.stages.base import accumulating

WAIT_SECONDS = 30  # for scontrol
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SAME_REQUEST_SECONDS = 2.0  # a terminal and a parent process may both pass on the same Ctrl-C


def slurm_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id of this process's job for `scontrol`; None outside of SLURM."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID")


def requeue(job: str) -> str:
    """Requeues a job; returns a short description of the result."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} could not be requeued ({error})"
    if done.returncode:
        return f"job {job} could not be requeued ({' '.join(done.stderr.split()) or f'exit code {done.returncode}'})"
    return f"job {job} is requeued"


class Stopped(SystemExit):
    """The run was stopped by a signal and has saved its state."""


class GracefulStop(Checkpoint):
    """Saves and exits after a signal. `how_to_resume`: the command in the message on stderr.

    `requeue_on`: names of the signals after which a SLURM job is requeued.
    """

    def __init__(self, last: LastCheckpoint, how_to_resume: str, requeue_on: Sequence[str] = ()):
        self.last, self.how_to_resume, self.requeue_on = last, how_to_resume, requeue_on
        self.received: signal.Signals | None = None
        self.received_at = 0.0
        self.stopping = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in SIGNALS:  # Lightning has set its own before, and restores the original ones at the end
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self.received_at = signal.Signals(number), now
        elif now - self.received_at > SAME_REQUEST_SECONDS:
            raise Stopped(exit_code(number))

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if accumulating(trainer):
            return
        self.stopping = trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)
        # a validation that is due belongs to the step: the state is saved after it
        if self.stopping and self.last.saved_step != trainer.global_step and not validation_follows(trainer):
            self.last.save_step(trainer)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self.stopping:
            return
        # another process may have got the signal
        number = signal.Signals(trainer.strategy.broadcast(self.received or signal.SIGTERM))
        if trainer.is_global_zero:
            held, step = self.last.saved_step, trainer.global_step
            saved = f"saved in {self.last.path}" if held == step else f"NOT saved: {self.last.path} holds step {held}"
            print(f"\nstopped by {number.name} at step {step}, {saved}", file=sys.stderr)
            job = slurm_job()
            again = requeue(job) if job and number.name in self.requeue_on else f"to go on: {self.how_to_resume}"
            print(as_started(again), file=sys.stderr, flush=True)
        raise Stopped(exit_code(number))


def exit_code(number: int) -> int:
    """130 for Ctrl-C, else 143: a shell's codes, which schedulers accept as a clean exit on request."""
    return 130 if number == signal.SIGINT else 143
