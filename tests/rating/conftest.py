"""Segments of a recording to compare."""

import pytest

from data_modules.annotations import identity, parts
from data_modules.clip_data_module import ClipDataModule
from genie.labeling.rate import Preferences, choose_pairs


@pytest.fixture(scope="module")
def data(pong_root):
    """The group `data` of a short recording of Pong."""
    return {"root": str(pong_root), "image_size": [64, 64], "num_frames": 8, "batch_size": 1}


@pytest.fixture(scope="module")
def readers(data):
    return parts(ClipDataModule(**data).open())


@pytest.fixture
def preferences(readers, tmp_path):
    """preferences(): those of a file that is there no more than once."""
    return lambda: Preferences(tmp_path / "p.csv", {"train": identity(readers["train"])}, readers)


@pytest.fixture(scope="module")
def pairs(readers):
    return choose_pairs(readers["train"], "train", length=8, most=30, seed=0)
