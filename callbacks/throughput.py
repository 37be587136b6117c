"""Clips per second, for the loggers that draw curves.

Not for metrics.csv: what is there is the same in every run of the same configuration, resumed or not.
"""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

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
