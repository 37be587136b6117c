"""python -m genie.train on two processes: one run folder, one voice, and one end."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from genie.runs.metrics_file import read_metrics

TWO = ["trainer=ddp_cpu", "data.batch_size=2"]  # of 2
ONE = ["trainer=cpu", "data.batch_size=4"]
# Commands train in fp32, whose rounding of 6e-8 hardly grows in a loss without codes that are near to latents: to 1e-5
# two runs are the same. Those of `test_equality.py` are compared in float64.
TOKENIZER = ["stage=tokenizer", "+model.tokenizer.quantizer=fsq", "+model.tokenizer.levels=[4,4,4]"]


def losses(folder, name="train/loss"):
    return [row[name] for row in read_metrics(Path(folder) / "metrics.csv") if name in row]


def children(pid):
    """Processes of Python that a process has started."""
    numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(number) for number in numbers if b"genie.train" in Path(f"/proc/{number}/cmdline").read_bytes()]


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_sweep_runs_each_job_once_on_all_processes(tmp_path, pong_root, training, train_here):
    start, finish = training
    settings = [*TOKENIZER, f"data.root={pong_root}", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    sweep = tmp_path / "sweep"
    process = finish(start("seed=1,2", f"hydra.sweep.dir={sweep}", *settings, *TWO, "-m"))
    assert process.returncode == 0 and process.stderr == "", process.stdout + process.stderr
    assert process.stdout.count("4 steps in") == 2  # said by one process, once a job
    assert process.stdout.count("parameters: tokenizer") == 2 and process.stdout.count("sweep.csv, sweep.png") == 1
    for job, seed in enumerate((1, 2)):
        train_here([f"seed={seed}", *settings, *ONE, f"run_dir={tmp_path}/alone_{job}"])
        run = sweep / str(job) / "tokenizer"
        assert losses(run) == pytest.approx(losses(tmp_path / f"alone_{job}"), rel=1e-5)
        record = json.loads((run / "run.json").read_text())
        assert [(start["processes"], start["to_step"]) for start in record["starts"]] == [(2, 4)]
        assert json.loads((sweep / str(job) / "job.json").read_text())["value"] == losses(run, "val/loss")[-1]
    assert losses(sweep / "0" / "tokenizer") != losses(sweep / "1" / "tokenizer")
    assert {path.name for path in sweep.iterdir()} == {"0", "1", "sweep.csv", "sweep.png", "multirun.yaml"}


def test_stopped_and_killed_on_two_processes_it_goes_on_and_ends_on_one(tmp_path, pong_root, training, train_here):
    """SIGTERM to the second process, then SIGKILL to it, and the rest on a single process."""
    start, finish = training
    settings = [*TOKENIZER, f"data.root={pong_root}", "trainer.max_steps=200", "trainer.val_check_interval=50"]
    settings += ["schedule=constant"]
    settings += ["callbacks.checkpoint.every_n_train_steps=5", f"run_dir={tmp_path}/run"]
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.ckpt"

    def interrupt(number, after, *more):
        process = start(*settings, *TWO, *more)
        wait_for(lambda: len(losses(run)) >= after, process)
        others = children(process.pid)
        os.kill(others[0], number)
        finished = finish(process)
        end = time.monotonic() + 20
        while not all(map(is_gone, others)):
            assert time.monotonic() < end, "the other process goes on by itself"
            time.sleep(0.1)
        return finished, torch.load(last, weights_only=True)["global_step"]

    stopped, step = interrupt(signal.SIGTERM, 3)
    assert stopped.returncode == 143 and 3 <= step < 200, stopped.stderr
    assert stopped.stderr.count(f"stopped by SIGTERM at step {step}") == stopped.stderr.count("to go on:") == 1

    lost, step = interrupt(signal.SIGKILL, step + 10, "resume=true")
    assert lost.returncode != 0 and "process 1 of this machine was killed by SIGKILL" in lost.stderr

    train_here([*settings, *ONE, "resume=true", f"trainer.max_steps={step + 10}"])
    train_here([*settings, *ONE, f"run_dir={tmp_path}/alone", f"trainer.max_steps={step + 10}"])
    assert losses(run) == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)


def test_under_torchrun_there_is_one_run_folder_and_one_voice(tmp_path, pong_root, torchrun):
    arguments = ["-m", "genie.train", "debug=fast", "stage=tokenizer", f"data.root={pong_root}"]
    arguments += [f"output_dir={tmp_path}", "trainer=ddp_cpu"]
    (process,) = torchrun(1, 2, *arguments, "launcher=torchrun")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count("5 steps in") == process.stdout.count("parameters: tokenizer") == 1
    run = tmp_path / "debug" / "tokenizer"
    folders = {path.name for path in tmp_path.rglob("*") if path.is_dir()}
    assert folders == {"debug", "tokenizer", "checkpoints", "plots", "media", "step_5"}
    assert json.loads((run / "run.json").read_text())["starts"][0]["processes"] == 2
