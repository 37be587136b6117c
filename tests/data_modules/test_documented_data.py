"""The lines of Python in docs/data.md make data that train, and that are what the lines say."""

import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from data_modules.clip_data_module import ClipDataModule
from genie.common.cli import to_plain

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"
MADE = {  # by a block of lines: (how it is read, columns, names of actions)
    "mine.h5": ("episodes", ["actions"], ["stay", "right"]),
    "clips": ("videos", ["actions"], ["left", "right"]),
    "robot": ("lerobot", ["states", "actions"], ["arm"]),
    "shards": ("webdataset", ["actions"], ["left", "right"]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the lines of the document have been run, one block after the other."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("webdataset")
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == len(MADE)
    root = tmp_path_factory.mktemp("documented")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for block in blocks:
            exec(compile(block, str(DOCUMENT), "exec"), {})
    return root


def opened(folder, name, *overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        given = [f"data={MADE[name][0]}", f"data.root={folder / name}", "data.num_workers=0", *overrides]
        config = to_plain(compose("inspect", given))
    module = ClipDataModule(**config["data"])
    module.setup()
    return module


@pytest.mark.parametrize("name", MADE)
def test_it_is_data_that_train(folder, name):
    module = opened(folder, name)
    _, columns, names = MADE[name]
    reader = module.splits["train"][0]
    assert reader.columns == columns and module.info.action_meanings == names and module.info.fps == 10
    assert {split: len(part) for split, (_, part) in module.splits.items()} == {"train": 8, "val": 1, "test": 1}
    assert np.diff(reader.episodes)[:, 0].tolist() == [50] * 10
    assert module.train_dataset[0]["frames"].shape == (16, 3, 64, 64)


@pytest.mark.parametrize("name", ["clips", "shards"])
def test_the_square_goes_where_the_actions_say(folder, name):
    module = opened(folder, name, "data.image_size=[64,96]")
    reader = module.splits["train"][0]
    places = reader.frames(50, 100)[:, 32, :, 0].argmax(1)
    moves = np.where(reader.column("actions", 50, 99) == module.info.action_meanings.index("left"), -1, 1)
    inside = (places[:-1] > 0) & (places[:-1] < 88)
    assert (
        inside.sum() > 40 and (np.diff(places)[inside] == moves[inside]).mean() > 0.95
    )  # H.264 blurs an edge at times


def test_the_arm_is_where_its_state_says(folder):
    reader = opened(folder, "robot", "data.image_size=[64,96]").splits["train"][0]
    for start, stop in ((0, 500), (123, 130)):
        places = reader.frames(start, stop)[:, 32, :, 0].astype(int)
        found = (places > 127).argmax(1)
        assert np.abs(found - 44 - reader.column("states", start, stop)[:, 0].astype(int)).max() <= 1
