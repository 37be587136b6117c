"""A job of SLURM that is told to stop goes back into the queue, once, when its state is safe."""

import os
import signal

import pytest
import torch

from callbacks.graceful_stop import requeue, slurm_job

REQUEUE_ON = ("SIGUSR1", "SIGTERM")


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """scontrol(exit code): puts a command of that name on the PATH; returns the file that notes its arguments."""

    def install(code=0):
        folder = tmp_path / "bin"
        folder.mkdir()
        command = folder / "scontrol"
        command.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho "slurm says no" >&2\nexit {code}\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return tmp_path / "calls"

    return install


@pytest.mark.parametrize(
    ("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, True), (signal.SIGINT, False)]
)
def test_a_job_is_requeued_after_it_has_saved(tmp_path, training, monkeypatch, capsys, scontrol, number, requeued):
    fit, model = training
    calls = scontrol()
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    stopped = model()
    stopped.at_step = {4: lambda: [os.kill(os.getpid(), number) for _ in range(2)]}
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", stopped, requeue_on=REQUEUE_ON)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 5  # which nothing else saves
    assert calls.exists() == requeued
    said = capsys.readouterr().err
    if requeued:
        assert calls.read_text() == "requeue 4711\n" and "job 4711 is requeued" in said
    else:
        assert "resume=true" in said


def test_outside_of_slurm_nothing_is_requeued(tmp_path, training, monkeypatch, scontrol):
    fit, model = training
    calls = scontrol()
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    stopped = model()
    stopped.at_step = {5: lambda: os.kill(os.getpid(), signal.SIGTERM)}
    with pytest.raises(SystemExit):
        fit(tmp_path / "run", stopped, requeue_on=REQUEUE_ON)
    assert not calls.exists()


def test_what_went_wrong_is_said(scontrol, monkeypatch):
    scontrol(code=1)
    assert requeue("12") == "job 12 could not be requeued (slurm says no)"
    monkeypatch.setenv("PATH", "")
    assert requeue("12").startswith("job 12 could not be requeued (")


def test_the_job_of_an_array_has_two_numbers():
    assert slurm_job({}) is None
    assert slurm_job({"SLURM_JOB_ID": "7"}) == "7"
    assert slurm_job({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}) == "7_2"
