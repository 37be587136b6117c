"""best.ckpt is the best state of the run, also of one that was moved, went back or could not save."""

import shutil

import pytest
import torch

from callbacks.checkpoints import BestCheckpoint
from genie.common.errors import UserError
from genie.runs.metrics_file import read_metrics


def worse_from(step):
    """What makes validation worse after `step` steps."""

    def prepare(model):
        model.at_step = {step: lambda: [parameter.data.add_(3) for parameter in model.parameters()]}
        return model

    return prepare


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_best_is_the_state_with_the_lowest_value(tmp_path, training):
    fit, model = training
    fit(tmp_path, worse_from(9)(model()), max_steps=16)  # validation gets worse after the second one
    losses = {row["step"]: row["val/loss"] for row in read_metrics(tmp_path / "metrics.csv") if "val/loss" in row}
    assert step_of(tmp_path / "best.ckpt") == min(losses, key=losses.get) == 8


def test_a_moved_run_knows_its_best_value(tmp_path, training):
    fit, model = training
    fit(tmp_path / "here", model(), max_steps=8)
    shutil.move(tmp_path / "here", tmp_path / "there")
    fit(tmp_path / "there", worse_from(8)(model()), resume=True, max_steps=12)
    assert step_of(tmp_path / "there" / "best.ckpt") == 8


def test_a_best_state_from_behind_the_point_that_a_run_goes_back_to_counts(tmp_path, training):
    """What step 8 is worth is better than the record of step 4, and worse than the file."""
    fit, model = training
    fit(tmp_path, model(), max_steps=4)
    shutil.copy(tmp_path / "last.ckpt", tmp_path / "before.ckpt")
    fit(tmp_path, model(), resume=True, max_steps=12)
    assert step_of(tmp_path / "best.ckpt") == 12
    (tmp_path / "last.ckpt").unlink()
    shutil.copy(tmp_path / "before.ckpt", tmp_path / "last.ckpt")
    fit(tmp_path, model(), resume=True, max_steps=8)
    assert step_of(tmp_path / "best.ckpt") == 12


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_without_the_file_the_next_one_is_the_best(tmp_path, training, harm):
    fit, model = training
    fit(tmp_path, model(), max_steps=8)
    best = tmp_path / "best.ckpt"
    best.unlink() if harm == "missing" else best.write_bytes(b"half")
    fit(tmp_path, worse_from(8)(model()), resume=True, max_steps=12)
    assert step_of(best) == 12


def test_a_figure_that_is_not_logged_is_named(tmp_path, training):
    fit, model = training
    with pytest.raises(UserError, match=r"monitor=val/luck .*val/loss, val/noise"):
        fit(tmp_path, model(), monitor="val/luck")


def test_no_number_is_not_the_best(tmp_path):
    best = BestCheckpoint(tmp_path, "val/loss", "min")
    assert not best._is_better(float("nan")) and best._is_better(3.0)
    best.score = 3.0
    assert best._is_better(2.0) and not best._is_better(3.0)
    best.mode = "max"
    assert best._is_better(4.0) and not best._is_better(2.0)
