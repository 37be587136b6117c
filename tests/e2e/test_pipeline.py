"""A world from nothing in one command, and what can be done with what it wrote."""

import pytest
import torch
from PIL import Image

from genie.runs.metrics_file import read_metrics

STAGES = ("tokenizer", "lam", "dynamics")


def test_it_ends_well_and_in_a_table(world):
    _, process = world
    assert process.returncode == 0, process.stdout + process.stderr
    table = process.stdout[process.stdout.index("minutes") :]
    for word in ("record", *STAGES, "evaluate", "psnr_background"):
        assert word in table
    assert "there is no train, val, test data in" in process.stdout
    assert process.stderr == ""


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_leaves_its_run_folder(world, stage):
    run = world[0] / "outputs" / "debug" / stage
    assert {"config.yaml", "checkpoints", "metrics.csv", "plots", "media"} <= {path.name for path in run.iterdir()}
    rows = read_metrics(run / "metrics.csv")
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows if "val/loss" in row] == [3, 5]
    assert Image.open(run / "plots" / "loss.png").size[0] > 500
    for name in ("last", "best"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["hyper_parameters"]["config"]["stage"]["name"] == stage


def test_nothing_lies_about(world):
    folder, _ = world
    assert {path.name for path in folder.iterdir()} == {"data", "outputs"}
    assert not [path for path in folder.rglob("*") if ".tmp-" in path.name or path.suffix == ".log"]


def test_the_same_command_again_does_nothing(world, run):
    folder, _ = world
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = run(folder, "-m", "genie.pipeline", "debug=fast")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 5
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_a_stage_does_not_start_into_a_run_by_accident(world, run):
    process = run(world[0], "-m", "genie.train", "stage=lam", "debug=fast")
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.count("\n") == 1
    for way in ("resume=true", "name=", "overwrite=true"):
        assert way in process.stderr
