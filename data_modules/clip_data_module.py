"""LightningDataModule of clips: loaders whose batches depend on the step alone."""

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from data_modules.clip_data import ClipData
from data_modules.clips import ClipDataset
from data_modules.seeding import START, StepBatchSampler
from data_modules.worker_loader import SteadyDataLoader


class ClipDataModule(ClipData, L.LightningDataModule):
    """`ClipData` with the loaders of a training; the settings are those of `ClipData`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        L.LightningDataModule.__init__(self)
        ClipData.__init__(self, *arguments, **settings)
        self.start = START  # where a resumed run left off
        self.sampler: StepBatchSampler | None = None  # of training, once it has begun

    def train_dataloader(self) -> DataLoader:
        """The endless batches of a training; without a trainer, those of one pass over the clips."""
        rank, world_size = self.ranks()
        trainer = self.trainer

        def position() -> int:
            return 0 if trainer is None else trainer.fit_loop.epoch_loop.total_batch_idx + 1

        self.sampler = StepBatchSampler(
            len(self.train_dataset), self.batch_size, rank, world_size, position, self.seed,
            accumulate=1 if trainer is None else trainer.accumulate_grad_batches, start=self.start,
            endless=trainer is not None,
        )  # fmt: skip
        return self._loader(self.train_dataset, batch_sampler=self.sampler)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader(self.test_dataset)

    def _evaluation_loader(self, dataset: ClipDataset) -> DataLoader:
        rank, world_size = self.ranks()
        count = len(dataset) // world_size * world_size  # equal shares: no rank waits for another
        share = range(rank, count, world_size) if count else range(len(dataset))
        return self._loader(dataset, sampler=share, batch_size=self.val_batch_size)

    def ranks(self) -> tuple[int, int]:
        """(rank, number of ranks) of data parallelism; ranks of one tensor-parallel group read the same clips."""
        strategy = getattr(self.trainer, "strategy", None)
        kwargs = getattr(strategy, "distributed_sampler_kwargs", None) or {"num_replicas": 1, "rank": 0}
        return kwargs["rank"], kwargs["num_replicas"]

    def _loader(self, dataset: ClipDataset, **kwargs) -> DataLoader:
        workers = {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}
        return SteadyDataLoader(dataset, pin_memory=torch.cuda.is_available(), **workers, **kwargs)
