"""A stopped run saves, leaves with the shell's exit code, and goes on as if it had not been stopped."""

import os
import signal

import pytest
import torch


def metrics(folder) -> str:
    return (folder / "metrics.csv").read_text()


def send(number):
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "during", "settings"),
    [
        pytest.param(signal.SIGTERM, {"at_step": 5}, {}, id="in the middle"),
        pytest.param(signal.SIGUSR1, {"at_step": 4}, {}, id="last batch of an epoch"),
        pytest.param(signal.SIGINT, {"at_step": 3}, {}, id="step before a validation"),
        pytest.param(signal.SIGTERM, {"at_validation": 8}, {}, id="in a validation"),
        pytest.param(signal.SIGTERM, {"at_step": 1}, {"accumulate_grad_batches": 2}, id="accumulating"),
    ],
)
def test_a_stopped_run_goes_on_exactly(tmp_path, training, capsys, number, during, settings):
    fit, model = training
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    reference = model()
    fit(whole, reference, **settings)

    stopped = model()
    for name, step in during.items():
        setattr(stopped, name, {step: send(number)})
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as leaving:
        fit(parts, stopped, **settings)
    assert leaving.value.code == (130 if number == signal.SIGINT else 143)
    step = torch.load(parts / "last.ckpt", weights_only=True)["global_step"]
    message = capsys.readouterr().err
    assert f"at step {step}" in message and "resume=true" in message
    assert 0 < step < 12
    if number == signal.SIGTERM:
        assert signal.getsignal(number) == before  # Lightning puts the handlers back

    resumed = model()
    torch.rand(3)  # what ran before must not matter
    fit(parts, resumed, resume=True, **settings)
    assert metrics(parts) == metrics(whole)
    for expected, parameter in zip(reference.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(expected, parameter)


def test_a_second_signal_leaves_at_once(tmp_path, training, monkeypatch):
    fit, model = training
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("callbacks.graceful_stop.time.monotonic", lambda: next(clock))
    stopped = model()
    reached = []
    stopped.at_step = {5: lambda: (send(signal.SIGTERM)(), send(signal.SIGTERM)(), reached.append("more work"))}
    with pytest.raises(SystemExit) as leaving:
        fit(tmp_path, stopped)
    assert leaving.value.code == 143 and not reached
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4  # the one that was there


def test_a_signal_that_comes_twice_at_once_counts_once(tmp_path, training):
    fit, model = training
    stopped = model()
    stopped.at_step = {5: lambda: (send(signal.SIGINT)(), send(signal.SIGINT)())}
    with pytest.raises(SystemExit):
        fit(tmp_path, stopped)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 6
