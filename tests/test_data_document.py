"""docs/data.md: the script that writes an episode file writes one, and the tables name what there is."""

import re
from pathlib import Path

import numpy as np

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.episode_header import COLUMNS_READ
from data_modules.formats.episodes import COLUMNS

DOCUMENT = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
SCRIPT = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL).group(1)


def test_the_script_writes_a_file_that_can_be_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT, "docs/data.md", "exec"), {})
    data = ClipDataModule(str(tmp_path / "mine.h5"), (64, 64), num_frames=4, batch_size=8)
    data.setup()
    assert data.info.action_meanings == ["stay", "right"] and data.info.fps == 10
    assert {split: len(episodes) for split, (_, episodes) in data.splits.items()} == {"train": 8, "val": 1, "test": 1}
    for index in range(0, len(data.train_dataset), 10):
        clip = data.train_dataset[index]
        places = clip["frames"][:, 0, 30].float().argmax(dim=1)  # the first white pixel of a row
        np.testing.assert_array_equal(places[:-1] + clip["actions"][:-1], places[1:])


def test_the_tables_name_all_that_a_file_may_hold():
    section = DOCUMENT[DOCUMENT.index("## The episode file") : DOCUMENT.index("**Alignment.**")]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    datasets = {"frames", "states", "episode_ends", "objects", "recordings", "seeds", "hashes", *COLUMNS}
    assert set(COLUMNS_READ) < datasets
    assert named == datasets | {"fps", "action_meanings", "object_names", "environment", "recorder", "format_version"}
