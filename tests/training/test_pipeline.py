"""The pipeline: order, what it skips, what it hands to its steps, how it stops."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from callbacks.metrics_csv import MetricsCSV
from genie.common.cli import resolved, to_plain
from genie.common.errors import UserError
from genie.evaluation.provenance import numbers
from genie.training.pipeline import Pipeline, run_module, shown

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """pipeline(*overrides): the commands that a pipeline runs; steps do nothing, unless `complete` names them."""
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr("genie.training.pipeline.run_module", lambda step, command: commands.append(command))
    monkeypatch.setattr(
        "genie.training.pipeline.record_missing", lambda data: commands.append(["record", data["root"]])
    )
    monkeypatch.setattr("genie.training.pipeline.evaluated", lambda report: {"lam.action_nmi": 0.456})

    def run(*overrides, complete=()):
        monkeypatch.setattr("genie.runs.folder.RunFolder.is_complete", lambda self: self.path.name in complete)
        commands.clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("pipeline", list(overrides))
            built = Pipeline(config, list(overrides))
            built.run()
        return list(commands), built

    return run


def test_each_step_is_the_command_of_a_user_with_the_same_overrides(pipeline):
    commands, _ = pipeline("experiment=pong", "name=x", "model.lam.width=96")
    given = ["experiment=pong", "name=x", "model.lam.width=96"]
    assert commands == [
        ["record", "data/pong_64x64"],
        *[["genie.train", *given, f"stage={stage}", "resume=true"] for stage in ("tokenizer", "lam", "dynamics")],
        ["genie.evaluate", f"run={Path('outputs/x')}"],
    ]


def test_the_demo_of_the_makefile_gets_to_its_evaluation(pipeline):
    lines = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "demo"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout
    words = shlex.split(lines[lines.index("-m genie.pipeline") :].replace("\\\n", ""))[2:]
    commands, _ = pipeline(*words)
    parts = "parts=[tokenizer,objects,lam,tokens,rollout,uncertainty,fvd,action_grid,attention,long_rollout]"
    evaluate = ["num_clips=32", "fvd.videos=32", "fvd.baselines=[copy_last]", "long_rollout.fvd=[]", parts]
    assert commands[-1] == ["genie.evaluate", f"run={Path('outputs/demo')}", *evaluate]
    assert commands[1] == ["genie.train", "experiment=demo", "stage=tokenizer", "resume=true"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("num_clip=3", "evaluate: there is no key or group 'num_clip'; did you mean num_clips?"),
        ("num_clips=few", "evaluate: num_clips=few must be a whole number of at least 1"),
        ("sampler=none", "evaluate: there is no sampler=none"),
    ],
)
def test_what_the_evaluation_will_not_take_is_said_before_anything_is_trained(pipeline, given, said):
    with pytest.raises(UserError, match=re.escape(said)):
        pipeline(f"evaluate=['{given}']")


def test_what_is_complete_is_skipped(pipeline, tmp_path, capsys):
    (tmp_path / "data" / "pong_64x64").mkdir(parents=True)
    for split in ("train", "val", "test"):
        (tmp_path / "data" / "pong_64x64" / f"{split}.h5").write_bytes(b"")
    commands, built = pipeline(complete=("tokenizer", "lam"))
    assert [command[0] for command in commands] == ["genie.train", "genie.evaluate"]
    assert "stage=dynamics" in commands[0]
    out = capsys.readouterr().out
    assert "[1/5] record: done before" in out and "[3/5] lam: done before" in out
    assert [row[1] for row in built.results] == ["before", "before", "before", "0.0", "0.0"]


def test_an_interrupted_recording_is_completed(pipeline, tmp_path):
    (tmp_path / "data" / "pong_64x64").mkdir(parents=True)
    (tmp_path / "data" / "pong_64x64" / "train.h5").write_bytes(b"")
    assert pipeline("steps=[record]")[0] == [["record", "data/pong_64x64"]]


def test_only_missing_splits_are_recorded(tmp_path):
    from genie.datasets.record import missing_splits, record_missing

    options = ["data=pong", f"data.root={tmp_path}", "data.recorder.num_frames={train: 30, val: 20, test: 20}"]
    with initialize_config_module("conf", version_base="1.3"):
        data = resolved("train", options)["data"]
    record_missing(data)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "train.h5").write_bytes(b"mine")
    (tmp_path / "val.h5").unlink()
    assert missing_splits(data) == ["val"]
    record_missing(data)
    assert (tmp_path / "train.h5").read_bytes() == b"mine"
    assert (tmp_path / "val.h5").read_bytes() == whole["val.h5"]
    assert missing_splits(data) == []
    (tmp_path / "val").mkdir()
    (tmp_path / "val.h5").rename(tmp_path / "val" / "round_000.h5")
    assert missing_splits(data) == []  # a folder of files is a split, too
    assert missing_splits(data | {"recorder": None, "root": str(tmp_path / "test.h5")}) == []


def test_a_recording_that_is_shorter_than_asked_for_is_named(tmp_path, capsys):
    from genie.datasets.record import record_missing

    options = ["data=pong", f"data.root={tmp_path}", "data.recorder.num_frames={train: 30, val: 20, test: 20}"]
    with initialize_config_module("conf", version_base="1.3"):
        data = resolved("train", options)["data"]
    record_missing(data)
    capsys.readouterr()
    record_missing(data)
    assert capsys.readouterr().out == ""
    data["recorder"]["num_frames"] = {"train": 1000, "val": 10, "test": 20}
    record_missing(data)
    line = capsys.readouterr().out.strip()
    assert "holds 30 train frames" in line and "data.recorder.num_frames.train is 1,000" in line and "val" not in line


@pytest.mark.parametrize("kind", ["episodes", "videos", "minari", "stream"])
def test_data_that_are_not_recorded_lack_nothing(tmp_path, kind):
    from genie.datasets.record import missing_splits

    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [f"data={kind}", f"data.root={tmp_path}", "debug=fast"])
    assert missing_splits(to_plain(config)["data"]) == []


def test_an_evaluation_is_repeated_when_something_was_trained_after_it(pipeline, tmp_path):
    report = tmp_path / "outputs" / "pong" / "evaluation" / "evaluation.json"
    checkpoint = tmp_path / "outputs" / "pong" / "lam" / "checkpoints" / "last.ckpt"
    for path, age in ((checkpoint, 20), (report, 10)):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (time.time() - age, time.time() - age))
    assert pipeline("steps=[evaluate]")[0] == []
    os.utime(checkpoint)
    assert pipeline("steps=[evaluate]")[0] == [["genie.evaluate", f"run={Path('outputs/pong')}"]]


def test_overwriting_starts_every_stage_anew(pipeline):
    commands, _ = pipeline("overwrite=true", "steps=[tokenizer]", complete=("tokenizer",))
    assert commands == [["genie.train", "stage=tokenizer", "overwrite=true"]]


def test_an_unknown_step_is_one_line(pipeline):
    with pytest.raises(UserError, match=r"steps=\[recrod\]: each must be one of record, tokenizer"):
        pipeline("steps=[recrod]")


def test_the_table_shows_the_newest_figures(pipeline, tmp_path):
    logger = MetricsCSV(tmp_path / "outputs" / "pong" / "tokenizer" / "metrics.csv")
    logger.log_metrics({"val/psnr": 30.0, "val/other": 1.0}, step=0)
    logger.log_metrics({"val/psnr": 41.25, "val/psnr_background": 34.2}, step=1)
    _, built = pipeline("steps=[tokenizer,evaluate]")
    assert built.results == [
        ("tokenizer", "0.0", "psnr 41.25  psnr_background 34.2"),
        ("evaluate", "0.0", "lam.action_nmi 0.456"),
    ]


def test_numbers_of_nested_results():
    assert numbers({"a": 1, "b": {"c": 2.5, "d": "text", "e": True}, "f": [1]}) == {"a": 1, "b.c": 2.5}


STEP = """
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print(os.getpid(), flush=True)
time.sleep(float(sys.argv[1])) if len(sys.argv) > 1 else sys.exit(int(open("code").read()))
"""


@pytest.mark.parametrize(("code", "lines"), [(2, 0), (7, 1), (0, 0)])
def test_a_failing_step_ends_the_pipeline_with_its_exit_code(tmp_path, monkeypatch, capfd, code, lines):
    (tmp_path / "some_step.py").write_text(STEP)
    (tmp_path / "code").write_text(str(code))
    monkeypatch.chdir(tmp_path)
    if code == 0:
        run_module("lam", ["some_step"])
    else:
        with pytest.raises(SystemExit) as leaving:
            run_module("lam", ["some_step"])
        assert leaving.value.code == code
    err = capfd.readouterr().err
    assert err.count("\n") == lines and ("step lam" in err) == bool(lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_a_stop_reaches_the_step_and_its_exit_code_comes_back(tmp_path, number, code):
    (tmp_path / "some_step.py").write_text(STEP)
    script = "from genie.training.pipeline import run_module; run_module('lam', ['some_step', '60'])"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    step = int(process.stdout.readline())
    # SIGKILL comes to the step alone, for want of memory: the pipeline says how it ended.
    os.kill(step if number == signal.SIGKILL else process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code and f"exit code {code}".encode() in err


def test_figures_stand_on_lines_that_a_terminal_has_room_for():
    values = {f"objects.ball.rally.figure_{n}": n + 0.25 for n in range(12)}
    lines = shown(values, ["val/psnr", *values]).splitlines()
    assert len(lines) > 2 and all(len(line) <= 90 for line in lines)
    assert "  ".join(lines) == "  ".join(f"{name} {value:.4g}" for name, value in values.items())
