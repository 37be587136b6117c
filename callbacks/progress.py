"""Progress over the optimizer steps of a run, and throughput.

Progress is a bar with speed, loss and time left, or plain lines without a terminal (Lightning's bars count the batches
of an epoch). Throughput goes to the loggers except metrics.csv, which is identical in every run of a configuration.
"""

import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from callbacks.metrics_csv import MetricsCSV

NAME = "train/clips_per_second"
AT_HORIZON = re.compile(r"(.*)_h(\d+)")  # a metric by horizon: all of them are too long for a line


class Throughput(Callback):
    """Logs clips per second, the mean over `log_every_n_steps` steps without the time of validations."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.loggers = [logger for logger in trainer.loggers if not isinstance(logger, MetricsCSV)]
        self._new_window(trainer)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        self.clips += len(batch["index"]) * trainer.world_size
        if trainer.global_step - self.first_step < trainer.log_every_n_steps:
            return
        speed = self.clips / (time.monotonic() - self.started)
        for logger in self.loggers:
            logger.log_metrics({NAME: speed}, step=trainer.global_step - 1)  # Lightning counts from 0
        self._new_window(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._new_window(trainer)

    def _new_window(self, trainer: Trainer) -> None:
        self.clips, self.first_step, self.started = 0, trainer.global_step, time.monotonic()


class StepProgress(ProgressBar):
    """Shows step, loss (mean since the last update), clips per second and time left after the `label` of the training.

    `refresh_seconds`: between two updates of the bar on a terminal; `line_seconds`: between two lines elsewhere.
    """

    def __init__(self, label: str, refresh_seconds: float = 0.5, line_seconds: float = 30.0):
        super().__init__()
        self.label, self.refresh_seconds, self.line_seconds = label, refresh_seconds, line_seconds
        self.console = Console(file=sys.stdout)
        self.bar: Progress | None = None
        self._enabled = True  # Lightning disables the bars of all ranks but the first

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether lines that the module prints go through this bar."""
        return self._enabled

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.first_step, self.started = trainer.global_step, time.monotonic()
        self._new_window()
        if self._enabled and self.console.is_terminal and "JPY_PARENT_PID" not in os.environ:  # !python in a notebook
            label, state = TextColumn("{task.description}"), TextColumn("{task.fields[state]}")
            columns = (label, BarColumn(), MofNCompleteColumn(), state, TimeElapsedColumn())
            self.bar = Progress(*columns, console=self.console, auto_refresh=False)
            self.task = self.bar.add_task(self.label, total=trainer.max_steps, completed=trainer.global_step, state="")
            self.bar.start()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        if not self._enabled:
            return
        self.clips += len(batch["index"]) * trainer.world_size
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self.losses.append(loss.detach())  # read from the device only when it is shown
        seconds = time.monotonic() - self.window_started
        if seconds >= (self.refresh_seconds if self.bar else self.line_seconds):
            self._show(trainer, seconds)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._enabled or trainer.state.fn != "fit":
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        text = "  ".join(f"{name} {values[name]:.4g}" for name in without_horizons(values))
        self.print(f"{self.label} step {trainer.global_step}/{trainer.max_steps}  {text}")

    def on_train_end(self, *_: Any) -> None:
        if self.bar:
            self.bar.update(self.task, completed=self.trainer.global_step, state="")
            self.bar.stop()
            self.bar = None

    on_exception = on_train_end

    def _new_window(self) -> None:
        self.window_started, self.clips, self.losses = time.monotonic(), 0, []

    def _show(self, trainer: Trainer, seconds: float) -> None:
        step, elapsed = trainer.global_step, time.monotonic() - self.started
        done = step - self.first_step
        left = clock(elapsed / done * (trainer.max_steps - step)) if done and trainer.max_steps > 0 else "-"
        loss = f"{torch.stack(self.losses).float().mean().item():.4g}" if self.losses else "-"
        state = f"loss {loss}  {self.clips / seconds:.1f} clips/s  ETA {left}"
        self._new_window()
        if self.bar:
            self.bar.update(self.task, completed=step, state=state)
            self.bar.refresh()
        else:
            self.print(f"{self.label} step {step}/{trainer.max_steps}  {state}")

    def print(self, line: str) -> None:
        """A line of its own, above the bar."""
        if self.bar:
            self.bar.console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)


def without_horizons(names: Iterable[str]) -> list[str]:
    """The names, of metrics by horizon (`psnr_h1`, `psnr_h2`, …) only the last one of each."""
    names = list(names)
    parts = {name: match.groups() for name in names if (match := AT_HORIZON.fullmatch(name))}
    last: dict[str, int] = {}
    for metric, step in parts.values():
        last[metric] = max(int(step), last.get(metric, 0))
    return [name for name in names if name not in parts or int(parts[name][1]) == last[parts[name][0]]]


def clock(seconds: float) -> str:
    """3725 -> "1:02:05"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
