"""A killed training goes on as if nothing had happened."""

import os
import signal
import time

import pytest
import torch

from benchmarks.torture import TIMEOUT, Processes, configure, differences
from genie.runs.metrics_file import read_metrics
from genie.train import main

SETTINGS = [
    "-m",
    "genie.train",
    "stage=tokenizer",
    "debug=fast",
    "data.image_size=[16,16]",
    "model.tokenizer.patch_size=4",
    "trainer.max_steps=60",
    "trainer.val_check_interval=25",
    "callbacks.checkpoint.every_n_train_steps=7",
]


def test_kill_minus_nine_leaves_no_trace_in_the_run(tmp_path, pong_root, run, run_main, background):
    start, finish = background
    data = f"data.root={pong_root}"
    code, _, said = run_main(main, *SETTINGS[2:], data, "name=whole", f"output_dir={tmp_path / 'outputs'}")
    assert code == 0, said

    killed = start(tmp_path, *SETTINGS, data, "name=killed")
    metrics = tmp_path / "outputs" / "killed" / "tokenizer" / "metrics.csv"
    while killed.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 25):
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed).returncode == -signal.SIGKILL, "it was not killed in the middle"
    step = torch.load(metrics.parent / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 20 <= step < 60 and read_metrics(metrics)[-1]["step"] >= step

    resumed = run(tmp_path, *SETTINGS, data, "name=killed", "resume=true")
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on from step {step} of 60" in resumed.stdout
    assert metrics.read_text() == (tmp_path / "outputs" / "whole" / "tokenizer" / "metrics.csv").read_text()
    states = [
        torch.load(tmp_path / "outputs" / name / "tokenizer" / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "killed")
    ]
    for name, expected in states[0]["state_dict"].items():
        assert torch.equal(expected, states[1]["state_dict"][name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pong_root):
    """(folder, data, processes): a folder with a run `whole` of each stage, none of which was disturbed."""
    folder, processes, data = tmp_path_factory.mktemp("interruption"), Processes(), f"data.root={pong_root}"
    for together in (("tokenizer",), ("lam", "cotrain"), ("dynamics",)):
        log = folder / "whole.log"
        running = [processes.start(configure(folder, stage, "whole", data), log) for stage in together]
        for process in running:
            process.join(TIMEOUT)
            assert process.exitcode == 0, log.read_text()
    return folder, data, processes


@pytest.mark.parametrize(
    ("stage", "workers", "kills"),
    [
        # before a write, counted from the start of the process; None: the training is not killed any more
        pytest.param("tokenizer", 2, (37, 17, None), id="tokenizer"),
        pytest.param("lam", 0, (30, 29, None), id="lam"),
        pytest.param("dynamics", 2, (47, 25, None), id="dynamics"),
        pytest.param("cotrain", 0, (43, 20, None), id="cotrain"),
    ],
)
def test_killed_in_the_middle_of_writing(whole, stage, workers, kills):
    """Each stage, with averaged weights, accumulation, revived codes and validations in between."""
    folder, data, processes = whole
    log = folder / f"{stage}.log"
    config = configure(folder, stage, "killed", data, f"data.num_workers={workers}", "resume=true")
    for kill in kills:
        code = processes.run(config, log, kill_before=kill)
        assert code == (0 if kill is None else -signal.SIGKILL), log.read_text()
    assert log.read_text().count("going on from step") == len(kills) - 1
    assert differences(folder / "killed" / stage, folder / "whole" / stage) == []


def test_two_processes_that_are_killed_leave_no_trace(tmp_path, pong_root, background):
    start, finish = background
    settings = [*SETTINGS, f"data.root={pong_root}", "trainer=ddp_cpu", "trainer.devices=2", "data.batch_size=2"]
    whole = start(tmp_path, *settings, "name=whole")
    killed = start(tmp_path, *settings, "name=killed", start_new_session=True)
    metrics = tmp_path / "outputs" / "killed" / "tokenizer" / "metrics.csv"
    while killed.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 25):
        time.sleep(0.002)
    os.killpg(killed.pid, signal.SIGKILL)
    assert finish(killed).returncode == -signal.SIGKILL, "it was not killed in the middle"
    assert finish(whole).returncode == 0
    resumed = finish(start(tmp_path, *settings, "name=killed", "resume=true"))
    assert resumed.returncode == 0, resumed.stderr
    assert differences(metrics.parent, tmp_path / "outputs" / "whole" / "tokenizer") == []
