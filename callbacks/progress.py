"""Progress and throughput.

Clips per second, for the loggers that draw curves.

Not for metrics.csv: what is there is the same in every run of the same configuration, resumed or not.

Progress over the steps of the run: a bar with speed, loss and time left; plain lines without a terminal.

Lightning's bars count the batches of an epoch; here only steps count.
"""

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


class Throughput(Callback):
    """Logs the mean of each `log_every_n_steps` steps; the time of validations does not count."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.loggers = [logger for logger in trainer.loggers if not isinstance(logger, MetricsCSV)]
        self._new_window(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
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


AT_HORIZON = re.compile(r"(.*)_h(\d+)")  # a figure by horizon: all of them are too long for a line


class StepProgress(ProgressBar):
    """Shows step, loss (mean since it was last shown), clips per second and time left.

    Args:
        label: what is trained, at the beginning of the line.
        refresh_seconds: between two updates of the bar on a terminal.
        line_seconds: between two lines where the output is a file or a pipe.
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
        """Whether lines of the module go through this one."""
        return self._enabled

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.first_step, self.started = trainer.global_step, time.monotonic()
        self._new_window()
        if self._enabled and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
            )
            self.bar = Progress(*columns, console=self.console, auto_refresh=False)
            self.task = self.bar.add_task(self.label, total=trainer.max_steps, completed=trainer.global_step, state="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._enabled:
            return
        self.clips += len(batch["index"]) * trainer.world_size
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self.losses.append(loss.detach())  # read on the device only when it is shown
        seconds = time.monotonic() - self.window_started
        if seconds >= (self.refresh_seconds if self.bar else self.line_seconds):
            self._show(trainer, seconds)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not self._enabled or trainer.state.fn != "fit":
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        text = "  ".join(f"{name} {values[name]:.4g}" for name in without_horizons(values))
        self.print(f"{self.label} step {trainer.global_step}/{trainer.max_steps}  {text}")

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._close()

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

    def _close(self) -> None:
        if self.bar:
            self.bar.update(self.task, completed=self.trainer.global_step, state="")
            self.bar.stop()
            self.bar = None


def without_horizons(names: Iterable[str]) -> list[str]:
    """The names without those of figures by horizon (`psnr_h1`, `psnr_h2`, …), of which the last one of each stays."""
    names = list(names)
    parts = {name: match.groups() for name in names if (match := AT_HORIZON.fullmatch(name))}
    last: dict[str, int] = {}
    for figure, step in parts.values():
        last[figure] = max(int(step), last.get(figure, 0))
    return [name for name in names if name not in parts or int(parts[name][1]) == last[parts[name][0]]]


def clock(seconds: float) -> str:
    """3725 -> "1:02:05"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
