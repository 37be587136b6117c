"""What may start in a run folder, and what is deleted there."""

import pytest
import yaml

from genie.errors import UserError
from genie.run_folder import RunFolder, flatten


def config(path, stage="tokenizer", **changes):
    values = {
        "run_dir": str(path),
        "resume": False,
        "overwrite": False,
        "stage": {"name": stage},
        "model": {"name": "tiny", "tokenizer": {"width": 8}, "lam": {"width": 8}, "dynamics": {"width": 8}},
        "optimizer": {"lr": 0.1},
        "trainer": {"max_steps": 5},
    }
    return values | changes


@pytest.fixture
def started(tmp_path):
    """A run that was started and killed before its first checkpoint, with some of its files."""
    RunFolder(config(tmp_path)).open(resumed=False)
    (tmp_path / "metrics.csv").write_text("step\n1\n")
    (tmp_path / "wandb" / "deep").mkdir(parents=True)
    (tmp_path / "checkpoints" / ".last.ckpt.tmp-123").write_text("half")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def test_a_run_is_not_written_over_by_accident(started):
    with pytest.raises(UserError, match=r"resume=true .* name=.* overwrite=true"):
        RunFolder(config(started)).resumable()


def test_resume_and_overwrite_exclude_each_other(started):
    with pytest.raises(UserError, match="exclude each other"):
        RunFolder(config(started, resume=True, overwrite=True)).resumable()


def test_without_a_checkpoint_there_is_nothing_to_resume(started, tmp_path):
    assert RunFolder(config(started, resume=True)).resumable() is None
    assert RunFolder(config(tmp_path / "new", resume=True)).resumable() is None
    assert not (tmp_path / "new").exists()  # looking changes nothing


def test_overwriting_deletes_what_a_run_writes_and_nothing_else(started):
    folder = RunFolder(config(started, overwrite=True, optimizer={"lr": 0.2}))
    assert folder.resumable() is None
    folder.open(resumed=False)
    assert sorted(path.name for path in started.iterdir()) == ["checkpoints", "config.yaml", "notes.txt"]
    assert list(folder.checkpoints.iterdir()) == []
    assert yaml.safe_load((started / "config.yaml").read_text())["optimizer"] == {"lr": 0.2}


def test_resuming_keeps_everything_but_leftovers_of_a_killed_write(started):
    RunFolder(config(started, resume=True)).open(resumed=True)
    assert (started / "metrics.csv").read_text() == "step\n1\n"
    assert (started / "wandb" / "deep").exists()
    assert list((started / "checkpoints").iterdir()) == []


def test_a_damaged_checkpoint_is_one_line_with_a_way_out(started):
    (started / "checkpoints" / "last.ckpt").write_bytes(b"no checkpoint at all")
    with pytest.raises(UserError, match=r"last\.ckpt .*overwrite=true") as raised:
        RunFolder(config(started, resume=True)).resumable()
    assert "\n" not in str(raised.value)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(config(tmp_path / "file")).resumable()


def test_changed_settings_are_those_that_matter(started):
    changed = config(started, resume=True, optimizer={"lr": 0.3, "eps": 1}, name="other")
    assert RunFolder(changed).changed_settings() == {"optimizer.lr": (0.1, 0.3), "optimizer.eps": (None, 1)}


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
