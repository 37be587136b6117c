"""`python -m genie.evaluate` with one run and with several: what is measured, what is taken again, where it goes."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hydra import initialize_config_module

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.evaluation.evaluate import evaluate_runs, labels
from genie.evaluation.provenance import provenance

pytestmark = pytest.mark.slow

FEW = ["num_clips=2", "prompt_frames=2", "horizon=2", "delta_psnr.t=[1,2]", "parts=[tokenizer,rollout]", "device=cpu"]


def composed(*overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("evaluate", [*FEW, *overrides])


@pytest.fixture(scope="module")
def two(world_run, tmp_path_factory):
    """Two runs: the tiny world and its copy."""
    copied = tmp_path_factory.mktemp("more") / "copied"
    shutil.copytree(world_run, copied, ignore=shutil.ignore_patterns("evaluation"))
    return world_run, copied


@pytest.fixture
def measured(monkeypatch):
    """The runs that were measured; measuring writes no more than where the figures come from."""
    names = []

    def evaluate_run(run, config):
        names.append(run.run.name)
        values = {"run": config.run, "provenance": provenance(config), "left_out": {}}
        folder = Path(config.output)
        folder.mkdir(exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(values))
        return values

    monkeypatch.setattr("genie.evaluation.evaluate.evaluate_run", evaluate_run)
    return names


def test_the_command_compares_and_the_report_can_be_drawn_again(two, tmp_path, monkeypatch, capsys, parse):
    from genie import evaluate

    given = ["evaluate.py", f"run=[{two[0]},{two[1]}]", f"output={tmp_path}", *FEW]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", given)
    evaluate.main()
    assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out
    page = parse(tmp_path / "report.html")
    assert page.complaints == [] and "Comparison" in page.text
    for name in ("world", "copied"):
        values = json.loads((tmp_path / name / "evaluation.json").read_text())
        assert values["tokenizer"]["psnr"] in page.numbers
        command = values["provenance"]["command"]
        assert command.startswith(f"python -m genie.evaluate run={two[name == 'copied']} ") and command in page.text
        assert command.endswith(f" output={tmp_path / name}")
        assert "'delta_psnr.t=[1,2]'" in command and "torch" in values["provenance"]["versions"]
        assert "core" in values["provenance"]["machine"]
    monkeypatch.setattr(sys, "argv", [*given, "reuse=true", "report=false"])
    (tmp_path / "report.html").unlink()
    evaluate.main()
    out = capsys.readouterr().out
    assert out.count("taken from") == 2 and "rollout PSNR" in out and not (tmp_path / "report.html").exists()


def test_what_still_holds_is_not_measured_again(two, tmp_path, measured):
    def go(*overrides):
        measured.clear()
        found = evaluate_runs(composed(f"run=[{two[0]},{two[1]}]", f"output={tmp_path}", *overrides))
        return list(measured), [one.values for one in found]

    first, values = go()
    assert first == ["world", "copied"] and [one["run"] for one in values] == [str(run) for run in two]
    assert go("reuse=true") == ([], values)
    assert go("reuse=true", "batch_size=1")[0] == []  # no figure depends on it
    assert go("reuse=true", "horizon=3")[0] == ["world", "copied"]
    assert go("reuse=true", "horizon=3")[0] == []
    checkpoint = two[1] / "dynamics" / "checkpoints" / "last.ckpt"
    later = (tmp_path / "copied" / "evaluation.json").stat().st_mtime + 1
    os.utime(checkpoint, (later, later))
    assert go("reuse=true", "horizon=3")[0] == ["copied"]
    assert go("horizon=3")[0] == ["world", "copied"]


def test_an_evaluation_that_says_nothing_of_its_settings_is_made_anew(two, tmp_path, measured):
    evaluate_runs(composed(f"run={two[0]}", f"output={tmp_path}", "parts=[tokenizer]"))
    path = tmp_path / "evaluation.json"
    values = json.loads(path.read_text())
    del values["provenance"]
    path.write_text(json.dumps(values))
    evaluate_runs(composed(f"run={two[0]}", f"output={tmp_path}", "parts=[tokenizer]", "reuse=true"))
    assert measured == ["world", "world"]


def test_runs_are_called_by_the_shortest_ends_that_differ():
    assert labels(["outputs/pong"]) == {"pong": "outputs/pong"}
    assert labels(["outputs/a", "outputs/b/"]) == {"a": "outputs/a", "b": "outputs/b/"}
    assert list(labels(["one/pong", "two/pong", "two/x"])) == ["one/pong", "two/pong", "two/x"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("[]", "give one folder"),
        ("[{0},{0}]", "several that differ"),
        ("[{0},nowhere]", "run=nowhere holds no trained"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(two, tmp_path, measured, run, message):
    with pytest.raises(UserError, match=message):
        evaluate_runs(composed(f"run={run.format(two[0])}", f"output={tmp_path}"))
    assert measured == [] and not list(tmp_path.iterdir())
