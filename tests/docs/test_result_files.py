"""What is kept of a run for the documents: figures, and how they came about."""

import json

import pytest

from docs.result_files import add, load
from genie.common.errors import UserError

EVALUATION = {
    "run": "outputs/x",
    "clips": 32,
    "seed": 3,
    "tokenizer": {"psnr": 41.23456, "psnr_low": 40.0, "psnr_high": 42.0},
    "lam": {"confusion": [[1, 2]], "action_nmi": 0.5},
    "rollout": {"psnr_by_horizon": [30.0, 29.0], "ssim_by_horizon": [0.9], "distance_mean": 1.0},
    "fvd": {"value": None},
    "cost": {"tokenizer": {"seconds": 1.0}},
    "left_out": {"objects": "none"},
    "provenance": {
        "date": "2026-01-31T10:00:00+00:00",
        "command": "python -m genie.evaluate run=outputs/x",
        "settings": {},
    },
}
START = {
    "device": "cpu",
    "machine": "A CPU, 2 cores",
    "processes": 1,
    "threads": 2,
    "precision": "32-true",
    "command": "c",
}


@pytest.fixture
def run(tmp_path):
    """A run folder with two trained stages and an evaluation."""
    for stage, seconds in (("tokenizer", 1800), ("lam", 5400)):
        (tmp_path / stage).mkdir()
        record = {"steps": 10, "seconds": seconds, "peak_rss_mb": 900.5, "peak_device_mb": None, "starts": [START]}
        (tmp_path / stage / "run.json").write_text(json.dumps(record))
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(EVALUATION))
    return tmp_path


def test_figures_are_kept_with_where_they_come_from(run, tmp_path):
    file = add(run, "mine", "AMD EPYC, 2 cores", tmp_path / "kept")
    assert file == tmp_path / "kept" / "mine.json"
    kept = load(tmp_path / "kept").mine
    assert (kept.date, kept.command, kept.machine) == (
        "2026-01-31",
        "python -m genie.evaluate run=outputs/x",
        "AMD EPYC, 2 cores",
    )
    assert (kept.clips, kept.seed, kept.tokenizer.psnr, kept.lam.action_nmi) == (32, 3, 41.2346, 0.5)
    assert kept.rollout.psnr_by_horizon == [30, 29]
    assert (kept.trained.hours, kept.trained.device, kept.trained.lam.minutes) == (2, "2 CPU cores", 90)
    text = file.read_text()
    for left_out in ("psnr_low", "confusion", "ssim_by_horizon", "distance", "cost", "left_out", "settings", '"fvd"'):
        assert left_out not in text


def test_another_evaluation_of_the_run_has_its_trainings_too(run, tmp_path):
    (run / "evaluation").rename(run / "evaluation_128")
    add(run / "evaluation_128", "far", "x", tmp_path / "kept")
    assert load(tmp_path / "kept").far.trained.hours == 2


def test_the_machine_is_that_of_the_evaluation_where_it_names_one(run, tmp_path):
    report = {**EVALUATION, "provenance": {**EVALUATION["provenance"], "machine": "Another, 8 cores"}}
    (run / "evaluation" / "evaluation.json").write_text(json.dumps(report))
    add(run, "mine", "AMD EPYC, 2 cores", tmp_path / "kept")
    assert load(tmp_path / "kept").mine.machine == "Another, 8 cores"


def test_the_shipped_world_knows_how_long_it_was_trained(tmp_path):
    from pathlib import Path

    add(Path("genie", "pretrained", "pong"), "pong", "x", tmp_path)
    trained = load(tmp_path).pong.trained
    assert trained.device == "1 CPU core" and trained.dynamics.steps == 10000 and 1 < trained.hours < 2


def test_mistakes_are_one_line(run, tmp_path):
    with pytest.raises(UserError, match="does not name the machine"):
        add(run, "mine", None, tmp_path)
    with pytest.raises(UserError, match="holds no evaluation.json"):
        add(run / "lam", "mine", "x", tmp_path)
    with pytest.raises(UserError, match="--as a-b"):
        add(run, "a-b", "x", tmp_path)
    (run / "evaluation" / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        add(run, "mine", "x", tmp_path)
