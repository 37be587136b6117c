"""What all tests share: one thread, one small recording of real Pong, tiny configurations and clips."""

import copy
import functools
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


@functools.cache
def _composed(stage, *overrides):
    from genie.cli import to_plain

    GlobalHydra.instance().clear()
    tiny = ["model=debug", "data.image_size=[16,16]", "model.tokenizer.patch_size=4", "model.lam.patch_size=4"]
    with initialize_config_module("conf", version_base="1.3"):
        return to_plain(compose("train", [f"stage={stage}", *tiny, *overrides]))


@pytest.fixture(scope="session")
def configure():
    """configure(stage, *overrides): the configuration of a tiny model for 16x16 frames in patches of 4."""
    return lambda stage, *overrides: copy.deepcopy(_composed(stage, *overrides))


@pytest.fixture(scope="session")
def make_clips():
    """make_clips(batch, frames, size): a batch as the data module gives it, of a square of 4 pixels that actions move.

    Action 0 leaves it, 1 moves it by its width, 2 by its height; the screen has no ends.
    """

    def make(batch=2, frames=4, size=(16, 16), seed=0):
        generator = torch.Generator().manual_seed(seed)
        height, width = size
        actions = torch.randint(3, (batch, frames), generator=generator)
        moves = torch.tensor([[0, 0], [0, 4], [4, 0]])[actions]  # rows, columns
        start = torch.randint(4, (batch, 1, 2), generator=generator) * 4
        places = start + torch.cat([torch.zeros(batch, 1, 2, dtype=torch.int64), moves[:, :-1].cumsum(1)], dim=1)
        rows = (torch.arange(height) - places[..., :1]) % height < 4  # [B, T, H]
        columns = (torch.arange(width) - places[..., 1:]) % width < 4
        square = rows[..., :, None] & columns[..., None, :]
        colours = torch.tensor([[60, 220], [90, 200], [30, 40]], dtype=torch.uint8)  # background, square
        return {
            "frames": colours[:, square.long()].permute(1, 2, 0, 3, 4).contiguous(),
            "actions": actions,
            "seed": torch.arange(batch) + 1000 * seed,
            "fps": torch.full((batch,), 10.0),
        }

    return make
