"""Time is counted once, as the innermost kind, from the first step on."""

import re

import pytest

from callbacks import time_use
from callbacks.time_use import TimeUse


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(time_use.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_shares_of_nested_actions(clock):
    use = TimeUse()
    with use.profile("[LightningModule]Stage.on_fit_start"):
        clock(8)  # before the first step
    with use.profile("run_training_batch"):
        clock(60)
        with use.profile("[Callback]Throughput.on_before_zero_grad"):
            clock(2)
        clock(10)
    with use.profile("[_TrainingEpochLoop].train_dataloader_next"):
        clock(5)
    with use.profile("[Callback]LastCheckpoint.on_train_batch_end"):
        clock(3)
        with use.profile("save_checkpoint"), use.profile("[Callback]RunRecord.on_save_checkpoint"):
            clock(4)
    with use.profile("[Strategy]SingleDeviceStrategy.validation_step"):
        clock(6)
    clock(10)
    use.start("[Callback]RunRecord.on_train_end")
    use.stop("[Callback]RunRecord.on_train_end")
    assert use.line() == (
        "first step after 8.0 s, then 100 s: steps 70.0%, data 5.0%, validation 6.0%, checkpoints 4.0%, "
        "callbacks 5.0%, other 10.0%"
    )


def test_an_exception_leaves_nothing_running(clock):
    use = TimeUse()
    with pytest.raises(RuntimeError), use.profile("run_training_batch"):
        use.start("[Callback]Rollouts.on_train_batch_end")
        clock(1)
        raise RuntimeError
    assert use.running == [] and use.seconds["callbacks"] == 1


def test_time_before_it_was_made_counts_for_the_first_step(clock):
    started = time_use.time.monotonic()
    clock(30)
    use = TimeUse(started)
    with use.profile("run_training_batch"):
        clock(1)
    assert use.line().startswith("first step after 30.0 s, then 1 s: steps 100.0%")


def test_without_a_step_there_is_nothing_to_say(clock):
    assert TimeUse().line() == ""


def test_a_training_prints_it(tmp_path, training):
    fit, model = training
    use = TimeUse()
    fit(tmp_path, model(), profiler=use)
    shares = [float(share) for share in re.findall(r" ([\d.]+)%", use.line())]
    assert len(shares) == 6 and sum(shares) == pytest.approx(100, abs=0.5)
    assert use.seconds["steps"] > 0 and use.seconds["data"] > 0 and use.seconds["checkpoints"] > 0
