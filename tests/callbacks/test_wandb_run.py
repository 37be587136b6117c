"""What Weights & Biases gets of a training and of its second half, read from the files that `wandb sync` uploads."""

import json
import sys

import numpy as np
import pytest
import torch

from callbacks.wandb_run import WandbRunLogger
from genie.evaluation.catalogue import direction
from genie.runs.metrics_file import read_metrics
from genie.train import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def halves(tmp_path_factory, pong_root, wandb_file):
    """(run folder, file of the first 3 steps, file of the resumed rest) of a training that logs offline."""
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = ["stage=tokenizer", "debug=fast", f"data.root={pong_root}", f"output_dir={outputs}", "name=run"]
    arguments += ["logger=wandb", "logger.wandb.mode=offline"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(outputs))
        for more in (["trainer.max_steps=3"], ["trainer.max_steps=5", "resume=true"]):
            patch.setattr(sys, "argv", ["train.py", *arguments, *more])
            main()
    run = outputs / "run" / "tokenizer"
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    return run, *map(wandb_file, files)


def test_a_resumed_run_goes_on_in_the_same_run(halves):
    run, first, second = halves
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["LoggedRuns"]["ids"]["wandb"]
    assert first.run.run_id == second.run.run_id == saved
    assert (first.run.display_name, first.run.run_group, first.run.job_type) == ("run tokenizer", "run", "tokenizer")
    assert first.exit_code == second.exit_code == 0
    assert list(first.curve("train/loss")) == [0, 1, 2] and list(second.curve("train/loss")) == [3, 4]


def test_the_curves_are_those_of_metrics_csv_over_the_steps(halves):
    run, *files = halves
    rows = read_metrics(run / "metrics.csv")
    names = {name for row in rows for name in row} - {"step", "epoch"}
    assert {"train/learning_rate", "val/psnr", "val/loss"} <= names
    for name in names - {name for name in names if direction(name) is None}:
        logged = {x + 1: value for file in files for x, value in file.curve(name).items()}
        assert logged == {row["step"]: pytest.approx(row[name], rel=1e-6) for row in rows if name in row}, name


def test_every_metric_has_its_axis_and_keeps_its_best_value(halves):
    run, first, _ = halves
    assert first.metrics["*"].step_metric == "trainer/global_step"  # for those of which none is better
    for name, best in (("val/loss", "min"), ("train/loss", "min"), ("val/psnr", "max"), ("val/codebook_usage", "max")):
        kept = first.metrics[name].summary
        assert (kept.min, kept.max, kept.last) == (best == "min", best == "max", True), name
        curve = list(first.curve(name).values())
        assert first.summary[name] == {best: {"min": min, "max": max}[best](curve), "last": curve[-1]}
    assert "val/psnr_background" not in first.metrics


def test_the_configuration_is_whole_and_the_versions_stand_beside_it(halves):
    run, first, second = halves
    config = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["hyper_parameters"]["config"]
    for name, value in config.items():
        assert second.config[name] == json.loads(json.dumps(value)), name
    assert first.config["trainer"]["max_steps"] == 3
    assert first.config["versions"]["torch"] == torch.__version__
    assert first.config["versions"]["python"].split(".") == list(map(str, sys.version_info[:3]))


def test_speed_is_logged_but_not_in_metrics_csv(halves):
    run, first, _ = halves
    assert [row["trainer/global_step"] for row in first.history if "train/clips_per_second" in row] == [0, 1, 2]
    assert not any("clips_per_second" in name for row in read_metrics(run / "metrics.csv") for name in row)


def test_pictures_are_kept_offline(tmp_path, wandb_file):
    logger = WandbRunLogger(name="x", save_dir=tmp_path, project="p", mode="offline")
    logger.log_image("media/rollout", [np.zeros((4, 4, 3), np.uint8)], step=7)
    logger.finalize("success")
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/**/*.png")
    file = wandb_file(next(tmp_path.glob("wandb/offline-run-*/*.wandb")))
    (row,) = file.history
    assert path.name in json.dumps(row) and row["trainer/global_step"] == 7
