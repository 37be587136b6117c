"""Checkpoints are whole, hold plain containers, and belong to finished steps."""

import errno
import resource

import pytest
import torch

from callbacks import checkpoints
from callbacks.checkpoints import AtomicCheckpointIO
from callbacks.metrics_csv import MetricsCSV
from genie.common.errors import RunError
from genie.runs.metrics_file import read_metrics


class FullDisk:
    """A file that takes so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def flush(self):
        self.file.flush()


def fill_disk(monkeypatch, room):
    """From now on, no checkpoint gets more than so many bytes; returns what makes room again."""
    write = checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda checkpoint, file: write(checkpoint, FullDisk(file, room)))
    return lambda: monkeypatch.setattr(checkpoints, "write", write)


@pytest.mark.parametrize("room", [0, 100, 20_000])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch, capsys, room):
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"weights": torch.ones(10_000)}, path)
    assert io.failure is None
    fill_disk(monkeypatch, room)
    io.save_checkpoint({"weights": torch.zeros(10_000)}, path)
    assert "No space left" in io.failure
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "last.ckpt could not be saved" in said and "No space left" in said
    assert torch.load(path, weights_only=True)["weights"].sum() == 10_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_real_limit_of_the_system(tmp_path, capsys):
    """RLIMIT_FSIZE makes the kernel refuse, as it does on a full disk."""
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, former[1]))
    try:
        for count, failure in ((1_000, None), (100_000, "[Errno 27] File too large")):
            io.save_checkpoint({"weights": torch.zeros(count)}, path)
            assert io.failure == failure
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert capsys.readouterr().err.count("\n") == 1
    assert len(torch.load(path, weights_only=True)["weights"]) == 1_000
    assert list(tmp_path.iterdir()) == [path]


def test_training_goes_on_while_the_disk_is_full(tmp_path, training, monkeypatch, capsys):
    fit, model = training
    fit(tmp_path / "whole", model())
    trained, room = model(), []
    trained.at_step = {4: lambda: room.append(fill_disk(monkeypatch, 100)), 9: lambda: room[0]()}
    fit(tmp_path / "full", trained)
    assert read_metrics(tmp_path / "full" / "metrics.csv") == read_metrics(tmp_path / "whole" / "metrics.csv")
    assert torch.load(tmp_path / "full" / "last.ckpt", weights_only=True)["global_step"] == 12
    said = capsys.readouterr().err
    assert "step-000000006.ckpt could not be saved" in said and "times a checkpoint could not be saved" in said


def test_a_best_state_that_could_not_be_saved_is_not_the_best(tmp_path, training, monkeypatch):
    """Of the validations at 4, 8 and 12, the second was the best, while the disk was full."""
    fit, model = training
    trained, room = model(), []

    def spoil():
        room[0]()
        for parameter in trained.parameters():
            parameter.data.add_(3)

    trained.at_step = {7: lambda: room.append(fill_disk(monkeypatch, 100)), 8: spoil}
    fit(tmp_path, trained)
    last, best = (torch.load(tmp_path / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    assert best["global_step"] == last["callbacks"]["BestCheckpoint"]["step"] == 4


def test_a_last_step_that_cannot_be_saved_is_an_error(tmp_path, training, monkeypatch):
    fit, model = training
    trained = model()
    trained.at_step = {7: lambda: fill_disk(monkeypatch, 100)}
    with pytest.raises(RunError, match=r"step 12, the last one, could not be saved, and .*last\.ckpt holds step 6"):
        fit(tmp_path, trained, limit_val_batches=0)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6


def test_rows_that_the_disk_refuses_come_later(tmp_path, monkeypatch, capsys):
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(path)
    logger.log_metrics({"train/loss": 1.0}, step=0)
    opened = open

    def refuse(file, mode="r", **options):
        if "a" in mode or "w" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(file, mode, **options)

    with monkeypatch.context() as full:
        full.setattr("builtins.open", refuse)
        logger.log_metrics({"train/loss": 2.0}, step=1)
        logger.log_metrics({"val/loss": 3.0}, step=1)
    assert [row["step"] for row in read_metrics(path)] == [1] and capsys.readouterr().err.count("\n") == 1
    logger.log_metrics({"train/loss": 4.0}, step=2)
    assert read_metrics(path) == [
        {"step": 1, "train/loss": 1.0},
        {"step": 2, "train/loss": 2.0},
        {"step": 2, "val/loss": 3.0},
        {"step": 3, "train/loss": 4.0},
    ]


def test_the_temporary_file_is_beside_the_checkpoint(tmp_path, monkeypatch):
    """A rename is atomic within a file system only, and $TMPDIR is often another one."""
    seen = []
    write = checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda value, file: (seen.append(file.name), write(value, file)))
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "deep" / "last.ckpt")
    assert [str(tmp_path / "deep") in name for name in seen] == [True]


def test_the_row_of_a_saved_step_is_there_before_the_step_is(tmp_path, training, monkeypatch):
    """Whoever is killed between the two has the step, and would never write its row."""
    fit, model = training
    seen, publish = [], checkpoints.publish

    def look(temporary, final):
        rows = read_metrics(tmp_path / "metrics.csv")
        step = torch.load(temporary, weights_only=True)["global_step"]
        seen.append((step, [row["step"] for row in rows if "train/loss" in row][-1]))
        publish(temporary, final)

    monkeypatch.setattr(checkpoints, "publish", look)
    fit(tmp_path, model())
    assert {step for step, _ in seen} == {3, 4, 6, 8, 9, 12} and all(step == row for step, row in seen)
    rows = [row["step"] for row in read_metrics(tmp_path / "metrics.csv") if "train/loss" in row]
    assert rows == list(range(1, 13))  # none twice


def test_the_last_step_is_validated_and_saved_wherever_it_falls(tmp_path, training):
    fit, model = training
    fit(tmp_path, model(), max_steps=11, every_n_train_steps=100, val_check_interval=4)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows if "val/loss" in row] == [4, 8, 11]
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)  # nothing but plain containers and tensors
    assert checkpoint["global_step"] == 11


def test_without_validation_the_steps_are_saved(tmp_path, training):
    fit, model = training
    steps = []

    def note():
        steps.append(torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"])

    trained = model()
    trained.at_step = {4: note, 7: note}
    fit(tmp_path, trained, max_steps=8, limit_val_batches=0)
    assert steps == [3, 6]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8


@pytest.mark.parametrize(
    ("first", "settings", "later"),
    [
        pytest.param(6, {}, {}, id="last step between two validations"),
        pytest.param(8, {}, {}, id="last step with a validation due"),
        pytest.param(5, {}, {}, id="last step at the end of an epoch"),
        pytest.param(10, {"val_check_interval": 5}, {}, id="epoch and validation end together"),
        pytest.param(6, {"limit_val_batches": 0}, {}, id="no validation"),
        pytest.param(8, {}, {"val_check_interval": 3}, id="another interval of validation"),
        pytest.param(4, {"accumulate_grad_batches": 2}, {}, id="accumulating"),
        pytest.param(5, {"accumulate_grad_batches": 2}, {}, id="accumulating, last step between"),
    ],
)
def test_a_run_that_is_made_longer_is_the_longer_run(tmp_path, training, first, settings, later):
    fit, model = training
    whole, longer = model(), model()
    fit(tmp_path / "whole", whole, max_steps=13, **(settings | later))
    fit(tmp_path / "longer", model(), max_steps=first, **settings)
    fit(tmp_path / "longer", longer, resume=True, max_steps=13, **(settings | later))
    expected, found = (
        [row for row in read_metrics(tmp_path / name / "metrics.csv") if "train/loss" in row]
        for name in ("whole", "longer")
    )
    assert found == expected
    for ours, theirs in zip(longer.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_crash_in_a_validation_loses_no_row_of_it(tmp_path, training):
    """A state from before the validation would go on behind it."""
    fit, model = training

    def crash():
        raise RuntimeError("power cut")

    fit(tmp_path / "whole", model(), every_n_train_steps=4)
    crashing = model()
    crashing.at_validation = {8: crash}
    with pytest.raises(RuntimeError, match="power cut"):
        fit(tmp_path / "crashed", crashing, every_n_train_steps=4)
    fit(tmp_path / "crashed", model(), resume=True, every_n_train_steps=4)
    whole, crashed = ((tmp_path / name / "metrics.csv").read_text() for name in ("whole", "crashed"))
    assert crashed == whole
