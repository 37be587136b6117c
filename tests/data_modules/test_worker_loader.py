"""Processes that read, when one of them is killed."""

import os
import signal
import time

import pytest

from data_modules.worker_loader import SteadyDataLoader, lost_worker, now_reading


class Killed:
    """A data set of which one process is killed while it reads, as the kernel does where the memory is full."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        now_reading(f"data/{'big' if index == 3 else 'small'}.h5")
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_killed_process_is_a_line_with_what_it_read():
    loader = SteadyDataLoader(Killed(), num_workers=2, batch_size=None)
    with pytest.raises(RuntimeError) as error:
        for _ in loader:
            time.sleep(0.01)
    line = lost_worker(error.value)
    for words in ("while it read data/big.h5", "memory is full", "lower data.num_workers or data.batch_size"):
        assert words in line
    assert "\n" not in line


def test_other_errors_are_none():
    assert lost_worker(RuntimeError("DataLoader is broken")) is None
    assert lost_worker(ValueError("x")) is None
    now_reading("outside of a process of a loader, nothing happens")
