"""What a step draws depends on the seed, the step and the rank, on nothing else."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from callbacks.reproducibility import CountedRandomness


def draws(seed: int = 0, step: int = 0, rank: int = 0) -> tuple:
    epoch_loop = SimpleNamespace(total_batch_idx=step)
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=epoch_loop), global_rank=rank)
    CountedRandomness(seed).on_train_batch_start(trainer, None, None, 0)
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_draws_do_not_depend_on_what_ran_before():
    first = draws(step=5)
    torch.rand(10), np.random.rand(10), random.random()
    assert draws(step=5) == first


def test_draws_differ_by_seed_step_and_rank_in_every_generator():
    cases = [draws(), draws(seed=1), draws(step=1), draws(rank=1), draws(seed=1, step=1)]
    for values in zip(*cases, strict=True):
        assert len(set(values)) == len(cases)


def test_each_validation_draws_the_same_and_training_does_not_see_it(tmp_path, training):
    from genie.runs.metrics_file import read_metrics

    fit, model = training
    fit(tmp_path / "often", model(), val_check_interval=2)
    fit(tmp_path / "seldom", model(), val_check_interval=6)
    often, seldom = (read_metrics(tmp_path / name / "metrics.csv") for name in ("often", "seldom"))
    assert len({row["val/noise"] for row in often if "val/noise" in row}) == 1
    assert [row for row in often if "train/loss" in row] == [row for row in seldom if "train/loss" in row]
