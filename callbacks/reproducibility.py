"""Counted randomness and the position in the data.

The global generators (python, numpy, torch) at step n are a function of (seed, n, rank) alone.

Dropout, masks and noise of a resumed run are then those of the uninterrupted one; nothing is saved for it.

Where a run is in its data, counted in samples: kept in the checkpoint, for a run that goes on with other batches.
"""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from data_modules.seeding import Place
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


KEY = "data_position"  # in a checkpoint


class DataPosition(Callback):
    """Lets a run with another batch size, number of devices or of batches to a step go on behind the last sample.

    The next samples are then those that would have been next; only how they are put into batches changes. With another
    number of clips (other data, or clips of another length) there is no such order: the next pass over them begins.
    A line says so. Nothing happens where all of that is as it was: the order is a function of the step.

    It also tells Lightning in which pass over the data a batch is (`epoch` of the loggers): its own never ends.
    """

    def __init__(self, label: str):
        self.label = label

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        place = trainer.datamodule.sampler.place(trainer.fit_loop.epoch_loop.total_batch_idx)
        trainer.fit_loop.epoch_progress.current.completed = place.epoch

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        sampler = trainer.datamodule.sampler
        if sampler is not None:
            place = sampler.place(trainer.fit_loop.epoch_loop.total_batch_idx + 1)
            checkpoint[KEY] = {
                "epoch": place.epoch,
                "offset": place.offset,
                "num_samples": sampler.num_samples,
                "samples": sampler.samples,
                "accumulate": sampler.accumulate,
                "start": list(sampler.start),
            }

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        then, data = checkpoint.get(KEY), trainer.datamodule
        if then is None or trainer.state.fn != "fit":
            return
        _, world_size = data.ranks()
        now = {
            "num_samples": len(data.train_dataset),
            "samples": data.batch_size * world_size,
            "accumulate": trainer.accumulate_grad_batches,
        }
        if all(then[name] == value for name, value in now.items()):
            data.start = Place(*then["start"])
            return
        batch = count_batches(checkpoint["loops"]["fit_loop"], then["accumulate"], now["accumulate"])
        same_clips = then["num_samples"] == now["num_samples"]
        data.start = Place(then["epoch"], then["offset"], batch) if same_clips else Place(then["epoch"] + 1, 0, batch)
        if trainer.is_global_zero:
            print(f"{self.label}: {describe(then, now)}", flush=True)


def count_batches(loop: dict[str, Any], then: int, now: int) -> int:
    """Makes the state of Lightning's loop count batches of which `now` instead of `then` are a step; their number."""
    progress = loop["epoch_loop.batch_progress"]
    batches = progress["total"]["ready"]
    converted = batches // then * now
    for part in ("total", "current"):
        for name in progress[part]:
            progress[part][name] += converted - batches
    return converted


def describe(then: dict[str, int], now: dict[str, int]) -> str:
    """What becomes of the order of the clips."""
    if then["num_samples"] != now["num_samples"]:
        return (
            f"there are {now['num_samples']:,} clips, and were {then['num_samples']:,}: their order could not be kept, "
            f"pass {then['epoch'] + 1} over them begins"
        )
    before, after = (each["samples"] * each["accumulate"] for each in (then, now))
    return (
        f"{after} clips a step instead of {before}: their order is kept, it goes on behind clip {then['offset']:,} of "
        f"pass {then['epoch']}"
    )
