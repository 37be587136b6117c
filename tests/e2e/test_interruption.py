"""A killed training goes on as if nothing had happened."""

import signal
import time

import torch

from callbacks.metrics_file import read_metrics

SETTINGS = [
    "-m",
    "genie.train",
    "stage=tokenizer",
    "debug=fast",
    "trainer.max_steps=60",
    "trainer.val_check_interval=25",
    "callbacks.checkpoint.every_n_train_steps=7",
]


def test_kill_minus_nine_leaves_no_trace_in_the_run(tmp_path, pong_root, run, background):
    start, finish = background
    data = f"data.root={pong_root}"
    whole = run(tmp_path, *SETTINGS, data, "name=whole")
    assert whole.returncode == 0, whole.stderr

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
