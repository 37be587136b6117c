"""Counted randomness and the position in the data, for exactly resumable runs.

The global generators (python, numpy, torch) at step n are a function of (seed, n, rank) alone, so dropout, masks and
noise of a resumed run are those of an uninterrupted one without saved generator states. The position in the data is
counted in samples and kept in the checkpoint, for a run that resumes with another batch size.
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
        number = trainer.fit_loop.epoch_loop.total_batch_idx
        seed_all(fold_in(self.seed, Stream.TRAINING_STEP, number, trainer.global_rank))

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
    """Resumes after the last sample where batch size, number of devices or accumulation have changed.

    The order of the samples is kept and only their batches change. With another number of clips (other data, or another
    length of clips) the order is lost, and the next pass over the data begins. A line reports either. With unchanged
    settings nothing has to be done: the order is a function of the step.

    Also sets Lightning's `epoch` for the loggers to the number of the pass, since its own epoch never ends.
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
            settings = {name: getattr(sampler, name) for name in ("num_samples", "samples", "accumulate")}
            checkpoint[KEY] = {"epoch": place.epoch, "offset": place.offset, **settings, "start": list(sampler.start)}

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
    """Converts the state of Lightning's loop from `then` to `now` batches per step; returns the number of batches."""
    progress = loop["epoch_loop.batch_progress"]
    batches = progress["total"]["ready"]
    converted = batches // then * now
    for part in ("total", "current"):
        for name in progress[part]:
            progress[part][name] += converted - batches
    return converted


def describe(then: dict[str, int], now: dict[str, int]) -> str:
    """The line about the order of the clips."""
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
