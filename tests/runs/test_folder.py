"""What may start in a run folder, and what is deleted there."""

import shutil

import pytest
import torch
import yaml

from callbacks.checkpoints import AtomicCheckpointIO
from genie.common.errors import UserError
from genie.runs.checkpoint_store import keep_as_last, step_path
from genie.runs.folder import MODEL_KEYS, RESUMED, RunFolder, flatten
from genie.runs.loading import read_checkpoint
from genie.stages import STAGES


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
    folder = RunFolder(config(started, resume=True))
    save(folder, 1)
    (started / "checkpoints" / ".step-000000003.ckpt.1a2b").mkdir()  # shards that never got their name
    folder.resumable()
    folder.open(resumed=True)
    assert (started / "metrics.csv").read_text() == "step\n1\n"
    assert (started / "wandb" / "deep").exists()
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["last.ckpt", "step-000000001.ckpt"]


def test_a_damaged_checkpoint_is_one_line_with_a_way_out(started):
    (started / "checkpoints" / "last.ckpt").write_bytes(b"no checkpoint at all")
    with pytest.raises(UserError, match=r"last\.ckpt .*overwrite=true") as raised:
        RunFolder(config(started, resume=True)).resumable()
    assert "\n" not in str(raised.value)


def save(folder, step, **changes):
    """A checkpoint of that step, as training leaves it."""
    checkpoint = {
        "global_step": step,
        "state_dict": {"weight": torch.full((1000,), float(step))},
        "hyper_parameters": {"config": config(folder.path)},
        "callbacks": {},
        "loops": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    path = step_path(folder.checkpoints, step)
    AtomicCheckpointIO().save_checkpoint(checkpoint | changes, path)
    keep_as_last(path, keep=3)


def harm(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_a_damaged_checkpoint_is_left_for_the_one_before(started, capsys):
    folder = RunFolder(config(started, resume=True))
    for step in (10, 20, 30):
        save(folder, step)
    harm(folder.last)
    harm(step_path(folder.checkpoints, 20))
    assert folder.resumable()["global_step"] == 10
    said = capsys.readouterr().err
    assert said.count("\n") == 2 and "last.ckpt" in said and "damaged" in said
    assert "going back to" in said and "step-000000010.ckpt" in said
    folder.open(resumed=True)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["last.ckpt", "step-000000010.ckpt"]
    assert read_checkpoint(folder.last)["global_step"] == 10
    assert RunFolder(config(started, resume=True)).resumable()["global_step"] == 10 and not capsys.readouterr().err


def test_a_run_is_complete_only_where_later_stages_find_it_whole(started):
    folder = RunFolder(config(started, resume=True))
    save(folder, 4)
    assert not folder.is_complete()
    save(folder, 5)
    assert folder.is_complete()
    folder.last.unlink()
    shutil.copy(step_path(folder.checkpoints, 5), folder.last)
    harm(folder.last)
    assert not folder.is_complete() and folder.resumable()["global_step"] == 5


def test_a_checkpoint_that_was_put_there_is_gone_on_from_and_kept(started):
    folder = RunFolder(config(started, resume=True))
    save(folder, 30)
    (folder.path / "elsewhere").mkdir()
    other = RunFolder(config(folder.path / "elsewhere"))
    save(other, 20)
    folder.last.unlink()
    shutil.copy(other.last, folder.last)
    assert folder.resumable()["global_step"] == 20
    folder.open(resumed=True)
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["last.ckpt", "step-000000020.ckpt"]


def test_a_run_that_lost_its_last_checkpoint_goes_on_from_a_kept_one(started):
    folder = RunFolder(config(started, resume=True))
    save(folder, 30)
    folder.last.unlink()
    (started / "config.yaml").unlink()
    assert folder.holds_run() and folder.resumable()["global_step"] == 30


@pytest.mark.parametrize("key", RESUMED)
def test_a_checkpoint_without_what_a_run_goes_on_with_is_refused(started, key):
    folder = RunFolder(config(started, resume=True))
    for value in ("x", None, 1.5):
        save(folder, 30, **{key: value})
        with pytest.raises(UserError, match=f"{key}.*overwrite=true") as raised:
            folder.resumable()
        assert "\n" not in str(raised.value)


def test_another_model_is_told_by_the_checkpoint_not_by_a_file_that_can_be_edited(started):
    folder = RunFolder(config(started, resume=True, model=config(started)["model"] | {"tokenizer": {"width": 9}}))
    save(folder, 3)
    (started / "config.yaml").write_text(yaml.safe_dump(folder.config))
    with pytest.raises(UserError, match=r"another model: model\.tokenizer\.width \(8 there, 9 now\)"):
        folder.resumable()


@pytest.mark.parametrize(
    ("stage", "group", "there", "now", "key"),
    [
        ("dynamics", "model", {"dynamics": {"width": 8}}, {"dynamics": {"width": 9}}, "model.dynamics.width"),
        ("dynamics", "model", {"tokenizer": {"width": 8}}, {"tokenizer": {"width": 9}}, None),
        ("dynamics", "stage", {"actions": "latent"}, {"actions": "environment"}, "stage.actions"),
        ("simulator", "simulator", {"model": {"width": 8}}, {"model": {"width": 9}}, "simulator.model.width"),
        ("simulator", "simulator", {"imagine": "mode"}, {"imagine": "sample"}, None),
        ("reward", "reward", {"name": "state"}, {"name": "preference"}, "reward.name"),
        ("policy", "policy", {"network": {"width": 8}}, {"network": {"width": 9}}, "policy.network.width"),
        ("policy", "policy", {"horizon": 8}, {"horizon": 9}, None),
        ("policy", "model", {"image_size": [8, 8]}, {"image_size": [9, 9]}, "model.image_size"),
        ("policy", "model", {"lam": {"width": 8}}, {"lam": {"width": 9}}, None),
    ],
)
def test_what_is_the_model_of_a_stage_stays(tmp_path, stage, group, there, now, key):
    def run(values, **changes):
        named = {"name": stage} if group == "stage" else {}
        return RunFolder(config(tmp_path, stage) | {group: named | values} | changes)

    save(run(there), 3, hyper_parameters={"config": run(there).config})
    folder = run(now, resume=True)
    if key is None:
        assert folder.resumable()["global_step"] == 3
    else:
        with pytest.raises(UserError, match=rf"another model: {key} \("):
            folder.resumable()


def test_every_stage_has_a_model():
    assert MODEL_KEYS.keys() == STAGES.keys()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(config(tmp_path / "file")).resumable()


def test_changed_settings_are_those_that_matter(started):
    changed = config(started, resume=True, optimizer={"lr": 0.3, "eps": 1}, name="other")
    found = RunFolder(changed).changed_settings(config(started))
    assert found == {"optimizer.lr": (0.1, 0.3), "optimizer.eps": (None, 1)}


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
