"""Checkpoints are whole, hold plain containers, and belong to finished steps."""

import pytest
import torch

from callbacks.checkpoints import AtomicCheckpointIO
from callbacks.metrics_file import read_metrics


def test_a_failed_write_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def write_half(checkpoint, file):
        file.write(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(OSError, match="no space left"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_is_beside_the_checkpoint(tmp_path, monkeypatch):
    """A rename is atomic within a file system only, and $TMPDIR is often another one."""
    seen = []
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda checkpoint, file: (seen.append(file.name), save(checkpoint, file)))
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "deep" / "last.ckpt")
    assert [str(tmp_path / "deep") in name for name in seen] == [True]


def test_the_last_step_is_validated_and_saved_wherever_it_falls(tmp_path, training):
    fit, model = training
    fit(tmp_path, model(), max_steps=11, every_n_train_steps=100, val_check_interval=4)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows if "val/loss" in row] == [4, 8, 11]
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)  # nothing but plain containers and tensors
    assert checkpoint["global_step"] == 11


def test_best_is_the_state_with_the_lowest_value(tmp_path, training):
    fit, model = training
    # Validation gets worse after the second one.
    trained = model()
    trained.at_step = {9: lambda: [parameter.data.add_(3) for parameter in trained.parameters()]}
    fit(tmp_path, trained, max_steps=16)
    losses = {row["step"]: row["val/loss"] for row in read_metrics(tmp_path / "metrics.csv") if "val/loss" in row}
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == min(losses, key=losses.get) == 8


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
