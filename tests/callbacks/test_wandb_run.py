"""What Weights & Biases gets of a training and of its second half, read from the files that `wandb sync` uploads."""

import json
import struct
import sys
import time

import numpy as np
import pytest
import torch

from callbacks.wandb_run import WandbRunLogger
from genie.evaluation.catalogue import direction
from genie.runs.metrics_file import read_metrics
from genie.train import main

pytestmark = pytest.mark.slow

BLOCK, HEADER = 32768, 7  # of the log: blocks of fixed size, records in one or more parts


def records(path):
    """The records of a .wandb file: protocol buffers in LevelDB's log format."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        place += HEADER + length
        parts += data[place - length : place]
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def values(items):
    """{name: value} of the items of a record."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


class File:
    """The parts of a .wandb file by what they say. Another process writes it, and may end a little after the run."""

    def __init__(self, path):
        for _ in range(600):
            found = list(records(path))
            if any(record.HasField("exit") for record in found):
                break
            time.sleep(0.1)
        (self.run,) = [record.run for record in found if record.HasField("run")]
        self.metrics = {m.name or m.glob_name: m for m in (r.metric for r in found if r.HasField("metric"))}
        self.history = [values(record.history.item) for record in found if record.HasField("history")]
        self.config, self.summary = {}, {}
        for record in found:
            self.config |= values(record.config.update) if record.HasField("config") else {}
            self.summary |= values(record.summary.update) if record.HasField("summary") else {}
        (self.exit_code,) = [record.exit.exit_code for record in found if record.HasField("exit")]

    def curve(self, name):
        """{x: value} of a metric over its own x axis."""
        axis = self.metrics[name].step_metric
        return {row[axis]: row[name] for row in self.history if name in row}


@pytest.fixture(scope="module")
def halves(tmp_path_factory, pong_root):
    """(run folder, file of the first 3 steps, file of the resumed rest) of a training that logs offline."""
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = ["stage=tokenizer", "debug=fast", f"data.root={pong_root}", f"output_dir={outputs}", "name=run"]
    arguments += ["logger=wandb", "logger.mode=offline"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(outputs))
        for more in (["trainer.max_steps=3"], ["trainer.max_steps=5", "resume=true"]):
            patch.setattr(sys, "argv", ["train.py", *arguments, *more])
            main()
    run = outputs / "run" / "tokenizer"
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    return run, *map(File, files)


def test_a_resumed_run_goes_on_in_the_same_run(halves):
    run, first, second = halves
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["WandbRun"]["run_id"]
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


def test_pictures_are_kept_offline(tmp_path):
    logger = WandbRunLogger(name="x", save_dir=tmp_path, project="p", mode="offline")
    logger.log_image("media/rollout", [np.zeros((4, 4, 3), np.uint8)], step=7)
    logger.finalize("success")
    (path,) = tmp_path.glob("wandb/offline-run-*/files/media/**/*.png")
    file = File(next(tmp_path.glob("wandb/offline-run-*/*.wandb")))
    (row,) = file.history
    assert path.name in json.dumps(row) and row["trainer/global_step"] == 7
