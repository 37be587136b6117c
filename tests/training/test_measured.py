"""The cost of a process: all sessions count, also those that fail."""

import json
import subprocess
import sys

import pytest

from genie.training import measured


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """run(*arguments): genie.training.measured in this process; the cost that it has noted."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["measured", str(tmp_path / "run" / "cost.json"), *arguments])
        measured.main()
        return measured.read_cost(tmp_path / "run" / "cost.json")

    return run


def test_it_runs_the_module_with_its_arguments_and_adds_up(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measured, "peak_mb", lambda: 100.0)
    first = run("calendar", "2024", "2")
    assert "February" in capsys.readouterr().out
    assert first["command"] == ["calendar", "2024", "2"] and first["peak_mb"] == 100
    measured.note(tmp_path / "run" / "cost.json", 60.0, 50.0, ["other"])
    cost = run("calendar", "2023")
    assert cost["seconds"] >= 60 and cost["peak_mb"] == 100  # the sum, the highest


def test_a_session_that_ends_with_an_error_counts_and_its_code_goes_on(run, tmp_path):
    with pytest.raises(SystemExit) as error:
        run("calendar", "no", "such", "year")
    assert error.value.code == 2
    assert json.loads((tmp_path / "run" / "cost.json").read_text())["command"][0] == "calendar"


def test_peak_memory_is_that_of_the_process():
    code = (
        "from genie.training.measured import peak_mb; a = peak_mb(); b = bytearray(b'x') * 2**28; print(peak_mb() - a)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 250 < float(out) < 300


def test_nothing_measured(tmp_path):
    assert measured.read_cost(tmp_path / "cost.json") == {}
