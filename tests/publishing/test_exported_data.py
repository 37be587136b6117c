"""Episodes beside exported files: whole ones, as they were, and the world takes them for its data."""

import numpy as np
import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats.episodes import read_origin
from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.publishing.export import export
from genie.publishing.exported_data import export_data
from genie.runs.loading import DATA
from genie.world.opening import open_world


@pytest.fixture
def shortened(pong_root, tmp_path):
    export_data(pong_root, tmp_path / "data", 30)
    return tmp_path / "data"


def opened(root):
    data = ClipDataModule(str(root), (16, 16), num_frames=5, batch_size=4)
    data.setup("fit")
    return data


def exported(**options):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        export(resolved("export", [f"{key}={value}" for key, value in options.items()]))


def test_the_first_episodes_are_copied_whole(shortened, pong_root):
    old, new = opened(pong_root), opened(shortened)
    for split in ("train", "val", "test"):
        (before, _), (after, episodes) = old.splits[split], new.splits[split]
        count = after.num_frames
        assert count >= min(30, before.num_frames) and episodes[-1, 1] == count
        assert np.array_equal(after.frames(0, count), before.frames(0, count))
        assert after.columns == before.columns and after.fps == before.fps and after.object_names == before.object_names
        for name in after.columns:
            columns = (reader.column(name, 0, count) for reader in (before, after))
            assert np.array_equal(*columns, equal_nan=name == "objects")
    first, copied = read_origin(pong_root / "val.h5"), read_origin(shortened / "val.h5")
    assert copied.settings == first.settings and copied.hashes == first.hashes[: len(copied.hashes)]
    assert (shortened / "val.h5").stat().st_size < (pong_root / "val.h5").stat().st_size


def test_a_world_takes_the_data_beside_it(world_run, tmp_path):
    output = tmp_path / "world"
    exported(run=world_run, output=output, data_frames=30)
    assert open_world(output).config["data"]["root"] == str(output / DATA)
    exported(run=world_run, output=tmp_path / "without")
    assert open_world(tmp_path / "without").config["data"]["root"] != str(tmp_path / "without" / DATA)


def test_other_data_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data_frames=30: there is no .*train.h5; only data in three episode files"):
        export_data(tmp_path, tmp_path / "data", 30)
