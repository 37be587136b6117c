"""run.json tells of the steps that last.ckpt holds, whatever became of the run."""

import json
import signal

import pytest
import torch

from callbacks import run_record
from callbacks.graceful_stop import Stopped
from callbacks.run_record import RunRecord
from genie.runs.metrics_file import read_record


class Clock:
    """A clock that a test sets: each look at it takes a second."""

    def __init__(self):
        self.seconds = 0.0

    def monotonic(self):
        self.seconds += 1
        return self.seconds


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(run_record, "time", Clock())
    return lambda: RunRecord(tmp_path / "run.json", "lam", "python -m genie.train stage=lam", {"torch": "2.0"})


def test_a_finished_run(tmp_path, training, record):
    fit, model = training
    fit(tmp_path, model(), callbacks=[record()])
    values = read_record(tmp_path / "run.json")
    assert values["stage"] == "lam" and values["steps"] == 12 and len(values["starts"]) == 1
    start = values["starts"][0]
    assert (start["from_step"], start["to_step"], start["device"]) == (0, 12, "cpu")
    assert "core" in start["machine"]
    assert start["versions"] == {"torch": "2.0"} and start["command"] == "python -m genie.train stage=lam"
    assert values["seconds"] == start["seconds"] > values["validation_seconds"] == 3  # one second each
    assert values["steps_per_second"] == pytest.approx(12 / (values["seconds"] - 3), abs=1e-3)
    assert 10 < values["peak_rss_mb"] < 1e6 and values["peak_device_mb"] is None


def test_a_resumed_run_adds_up(tmp_path, training, record):
    fit, model = training
    told = model()
    told.at_step = {7: lambda: signal.raise_signal(signal.SIGTERM)}
    with pytest.raises(Stopped):
        fit(tmp_path, told, callbacks=[record()])
    first = read_record(tmp_path / "run.json")
    assert first["steps"] == torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8
    fit(tmp_path, model(), resume=True, callbacks=[record()])
    both = read_record(tmp_path / "run.json")
    assert [(start["from_step"], start["to_step"]) for start in both["starts"]] == [(0, 8), (8, 12)]
    assert both["starts"][0] == first["starts"][0] and both["steps"] == 12
    assert both["seconds"] == first["seconds"] + both["starts"][1]["seconds"]
    assert both["steps_per_second"] == pytest.approx(12 / (both["seconds"] - both["validation_seconds"]), abs=1e-3)


def test_steps_that_were_lost_are_not_counted(tmp_path, training, record):
    fit, model = training

    def die():
        raise ZeroDivisionError

    broken = model()
    broken.at_step = {5: die}  # last.ckpt holds step 4
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, broken, callbacks=[record()])
    assert read_record(tmp_path / "run.json")["steps"] == 4
    fit(tmp_path, model(), resume=True, callbacks=[record()])
    assert [start["to_step"] for start in read_record(tmp_path / "run.json")["starts"]] == [4, 12]


def test_a_file_of_another_state_is_not_gone_on_with(tmp_path, training, record):
    fit, model = training
    fit(tmp_path, model(), callbacks=[record()])
    later = read_record(tmp_path / "run.json")
    fit(tmp_path, model(), callbacks=[record()])  # from step 0 into the same folder
    values = json.loads((tmp_path / "run.json").read_text())
    assert len(later["starts"]) == len(values["starts"]) == 1 and not list(tmp_path.glob(".*tmp*"))
