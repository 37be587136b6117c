"""A training that is small enough to run many times: a linear map with dropout on random pictures. And the files of
Weights & Biases, for which its package has no reader."""

import json
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from callbacks.checkpoints import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint, ValidateLastStep
from callbacks.graceful_stop import GracefulStop
from callbacks.metrics_csv import MetricsCSV
from callbacks.reproducibility import CountedRandomness
from callbacks.wandb_file import X_AXIS, records
from data_modules.seeding import StepBatchSampler

NUM_SAMPLES = 22  # with batches of 4: epochs of 5 steps, and 2 samples left out


class Pictures(Dataset):
    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, key):
        index = key[1] if isinstance(key, tuple) else key
        generator = torch.Generator().manual_seed(index)
        frames = torch.randint(0, 256, (2, 3, 4, 4), generator=generator, dtype=torch.uint8)
        return {"frames": frames, "index": torch.tensor(index)}


class Data(L.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        def position() -> int:
            return self.trainer.fit_loop.epoch_loop.total_batch_idx + 1

        sampler = StepBatchSampler(NUM_SAMPLES, 4, rank=0, world_size=1, position=position, seed=0)
        return DataLoader(Pictures(), batch_sampler=sampler)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Pictures(), batch_size=8)


class Model(L.LightningModule):
    """`at_step[n]`, `at_validation[n]`: called in the training step (validation) that follows n steps."""

    tokens_per_frame = 7

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"config": {}})  # no checkpoint of this project is without
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Flatten(2), nn.Linear(48, 48), nn.Dropout(0.5))
        self.at_step, self.at_validation = {}, {}

    def loss(self, batch):
        frames = batch["frames"].float() / 255
        return (self.model(frames) - frames.flatten(2)).square().mean()

    def training_step(self, batch, batch_idx):
        self.at_step.pop(self.trainer.global_step, lambda: None)()
        loss = self.loss(batch)
        self.log("train/loss", loss)
        self.log("train/noise", torch.rand(()))
        return loss

    def validation_step(self, batch, batch_idx):
        self.at_validation.pop(self.trainer.global_step, lambda: None)()
        self.log("val/loss", self.loss(batch))
        self.log("val/noise", torch.rand(()))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def parts(self):
        return {"all": self.model}

    def example_flops(self):
        return 2_500_000


def fit(folder: Path, model: Model, resume: bool = False, callbacks=(), max_steps=12, **settings) -> L.Trainer:
    """Trains in `folder` with the callbacks that every run has; `resume`: goes on from last.ckpt.

    `callbacks`: more of them, or what makes them of the one that keeps last.ckpt.
    """
    last = LastCheckpoint(folder, settings.pop("every_n_train_steps", 3), settings.pop("keep", 2))
    former = torch.load(last.path, weights_only=True)["global_step"] if resume else None
    requeue_on, monitor = settings.pop("requeue_on", ()), settings.pop("monitor", "val/loss")
    interval = settings.pop("val_check_interval", 4) * settings.get("accumulate_grad_batches", 1)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=max_steps,
        val_check_interval=interval,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpointIO()],
        logger=[MetricsCSV(folder / "metrics.csv", former)],
        callbacks=[
            CountedRandomness(0),
            *(callbacks(last) if callable(callbacks) else callbacks),
            ValidateLastStep(),
            BestCheckpoint(folder, monitor, "min"),
            last,
            GracefulStop(last, "the same command with resume=true", requeue_on),
        ],
        **{"enable_progress_bar": False, **settings},
    )
    trainer.fit(model, datamodule=Data(), ckpt_path=last.path if resume else None, weights_only=True)
    return trainer


@pytest.fixture
def training():
    """(fit, Model)."""
    return fit, Model


def values(items):
    """{name: value} of the items of a record."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


class WandbFile:
    """The parts of a .wandb file by what they say. Another process writes it, and may end a little after the run.

    `last`: x of the last point of a run that was killed, which does not say that it ended.
    """

    def __init__(self, path, last=None):
        for _ in range(600):
            found = list(records(path))
            rows = [values(record.history.item) for record in found if record.HasField("history")]
            if any(record.HasField("exit") for record in found) or last in [row.get(X_AXIS) for row in rows[-1:]]:
                break
            time.sleep(0.1)
        (self.run,) = [record.run for record in found if record.HasField("run")]
        self.metrics = {m.name or m.glob_name: m for m in (r.metric for r in found if r.HasField("metric"))}
        self.history = [values(record.history.item) for record in found if record.HasField("history")]
        self.config, self.summary = {}, {}
        for record in found:
            self.config |= values(record.config.update) if record.HasField("config") else {}
            self.summary |= values(record.summary.update) if record.HasField("summary") else {}
        self.exit_code = next((record.exit.exit_code for record in found if record.HasField("exit")), None)

    def curve(self, name):
        """{x: value} of a metric over its own x axis."""
        axis = self.metrics[name].step_metric
        return {row[axis]: row[name] for row in self.history if name in row}


@pytest.fixture(scope="session")
def wandb_file():
    return WandbFile
