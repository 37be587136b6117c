"""The global generators (python, numpy, torch) at step n are a function of (seed, n, rank) alone.

Dropout, masks and noise of a resumed run are then those of the uninterrupted one; nothing is saved for it.
"""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from genie.common.random import Stream, fold_in


class CountedRandomness(Callback):
    """Seeds all generators at the start of each batch; validation batch k is the same in each validation."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed_all(
            fold_in(self.seed, Stream.TRAINING_STEP, trainer.fit_loop.epoch_loop.total_batch_idx, trainer.global_rank)
        )

    def on_validation_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        seed_all(fold_in(self.seed, Stream.VALIDATION_STEP, batch_idx, trainer.global_rank))


def seed_all(seed: int) -> None:
    """Seeds python, numpy and torch (all devices) with a number in [0, 2**63)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
