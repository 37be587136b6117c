"""What all tests share: one thread, and one small recording of real Pong."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

torch.set_num_threads(1)


def _record(root, *overrides):
    from genie.record import record, replace_environment

    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", [f"data.root={root}", *overrides])
    replace_environment(cfg)
    return record(cfg.data, overwrite=cfg.overwrite)


@pytest.fixture(scope="session")
def record_with():
    """record_with(root, *overrides) does what `python -m genie.record data.root=<root> ...` does."""
    return _record


@pytest.fixture(scope="session")
def pong_root(tmp_path_factory):
    """Folder with 600, 200 and 200 frames of Pong at 64x64 in episodes of at most 151 frames."""
    root = tmp_path_factory.mktemp("pong_64x64")
    frames = {"train": 600, "val": 200, "test": 200}
    overrides = [f"data.recorder.num_frames.{split}={count}" for split, count in frames.items()]
    return _record(root, *overrides, "data.recorder.max_episode_steps=150")


@pytest.fixture(scope="session")
def load():
    """load(path): all data sets of an episode file as arrays."""

    def read(path):
        with h5py.File(path) as file:
            return {name: file[name][:] for name in file}

    return read
