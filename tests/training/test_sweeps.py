"""Sweeps through the entry point: no job is lost, no job is done twice, and the table says what became of each."""

import csv
import functools
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from callbacks.metrics_csv import MetricsCSV
from genie.common.errors import UserError
from genie.evaluation.catalogue import direction
from genie.runs.metrics_file import last_values
from genie.train import main
from genie.training.sweeps import recorded_job
from genie.training.train import resume_command

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(monkeypatch, run_main, tmp_path):
    """sweep(*arguments): (exit code, stdout, stderr) of a sweep of the debug model in the folder "sweep"."""
    monkeypatch.chdir(tmp_path)

    return functools.partial(run_main, main, "-m", "debug=fast", "hydra.sweep.dir=sweep")


@pytest.fixture
def trained(monkeypatch):
    """The configurations that a stand-in for training got. It is best at optimizer.lr=0.001; other jobs go wrong:
    lr=0.5 is refused, 0.6 breaks, 0.7 diverges, 0.8 is interrupted once."""
    configs, interrupted = [], []

    def train(config, job=None):
        configs.append(config)
        lr = config["optimizer"]["lr"]
        if lr == 0.5:
            raise UserError("no such thing")
        if lr == 0.6:
            raise IndexError("broken")
        if lr == 0.8 and not interrupted:
            interrupted.append(job)
            raise KeyboardInterrupt
        logger = MetricsCSV(Path(config["run_dir"]) / "metrics.csv")
        logger.log_metrics({"val/loss": float("nan") if lr == 0.7 else abs(lr - 0.001)}, step=9)
        return last_values(logger.path).get(config["objective"])

    monkeypatch.setattr("genie.training.train.train", train)
    return configs


def table(folder="sweep"):
    with open(Path(folder) / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def column(name):
    return [row[name] for row in table()]


def test_a_real_sweep_leaves_a_table_a_picture_and_a_run_for_each_job(sweep, pong_root):
    settings = [f"data.root={pong_root}", "trainer.max_steps=2", "callbacks.checkpoint.monitor=val/psnr"]
    code, out, err = sweep(*settings, "optimizer.lr=1e-3,1e-4", "objective=val/psnr")
    assert code == 0 and err == ""
    rows = table()
    assert [(row["job"], row["status"], row["optimizer.lr"], row["steps"]) for row in rows] == [
        ("0", "completed", "0.001", "2"),
        ("1", "completed", "0.0001", "2"),
    ]
    for row in rows:
        last = last_values(Path(row["folder"]) / "metrics.csv")
        assert row["objective"] == "val/psnr" and float(row["value"]) == last["val/psnr"] and float(row["seconds"]) > 0
        assert (Path(row["folder"]) / "checkpoints" / "best.ckpt").exists()
    assert Image.open("sweep/sweep.png").size[0] > 300
    best = max(rows, key=lambda row: float(row["value"]))
    assert f"{float(best['value']):.5g} *" in out and out.count(" *") == 1
    assert "debug tokenizer 1: 2 steps" in out  # runs of one name are told apart

    before = {path: path.stat().st_mtime_ns for path in Path("sweep").rglob("*.ckpt")}
    code, out, _ = sweep(*settings, "optimizer.lr=1e-3,1e-4", "objective=val/psnr", "resume=true")
    assert code == 0 and out.count("is complete") == 2
    assert column("value") == [row["value"] for row in rows]
    assert {path: path.stat().st_mtime_ns for path in Path("sweep").rglob("*.ckpt")} == before


def test_jobs_that_go_wrong_are_said_and_the_others_done(sweep, trained):
    code, out, err = sweep("optimizer.lr=0.5,0.6,0.7,0.002")
    assert code == 1 and [config["optimizer"]["lr"] for config in trained] == [0.5, 0.6, 0.7, 0.002]
    assert err.startswith("error: no such thing\n") and "IndexError: broken" in err
    assert column("status") == ["failed", "failed", "diverged", "completed"]
    assert column("value") == ["", "", "nan", "0.001"]
    assert column("error")[:2] == ["no such thing", "broken"]
    assert "0.001 *" in out and "diverged" in out


def test_an_interrupted_sweep_goes_on_with_its_jobs(sweep, trained):
    command = ["optimizer.lr=0.001,0.8"]
    code, _, err = sweep(*command)
    assert code == 130 and err == "interrupted\n"
    assert column("status") == ["completed", "stopped"]  # the table is there before the end
    assert sweep(*command, "resume=true")[0] == 0
    assert column("status") == ["completed", "completed"]
    assert [(config["run_dir"], config["resume"]) for config in trained] == [
        (f"sweep/{job}/tokenizer", resume) for resume in (False, True) for job in (0, 1)
    ]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """job(value, *overrides, objective=…): one job of a sweep without Hydra, that ends with `value` or raises it."""
    monkeypatch.chdir(tmp_path)

    def run(value, *overrides, objective="val/loss"):
        sweep = {"dir": "sweep", "subdir": "0"}
        hydra = OmegaConf.create({"sweep": sweep, "job": {"num": 0}, "overrides": {"task": list(overrides)}})
        starts = {name: f"{name}=true" in overrides for name in ("resume", "overwrite")}
        config = {"objective": objective, "stage": {"name": "lam"}, **starts}
        with recorded_job(config, hydra) as record:
            MetricsCSV(Path(config["run_dir"]) / "metrics.csv").log_metrics({"val/loss": 1.0}, step=9)
            record["value"] = value

    return run


def test_a_sweep_is_not_written_over(job):
    job(1.0, "optimizer.lr=0.002")
    with pytest.raises(UserError, match="sweep holds a sweep already: resume=true"):
        job(2.0, "optimizer.lr=0.002")
    assert (column("value"), column("status"), column("steps")) == (["1.0"], ["completed"], ["10"])
    job(2.0, "optimizer.lr=0.002", "resume=true")
    assert column("value") == ["2.0"]


def test_a_folder_is_not_resumed_with_another_sweep(job):
    job(1.0, "optimizer.lr=0.002")
    with pytest.raises(UserError, match=r"holds the job with optimizer\.lr=0\.002, not optimizer\.lr=0\.003"):
        job(2.0, "optimizer.lr=0.003", "resume=true")
    assert (column("optimizer.lr"), column("value")) == (["0.002"], ["1.0"])
    job(2.0, "optimizer.lr=0.003", "overwrite=true")
    assert column("optimizer.lr") == ["0.003"]


def test_an_objective_that_was_never_logged_is_said_with_what_was(job):
    with pytest.raises(UserError, match="objective=val/psnrr was never logged; there is: step, val/loss"):
        job(None, "optimizer.lr=0.002", objective="val/psnrr")
    assert column("status") == ["failed"]


def test_the_command_to_go_on_names_the_sweep(sweep, trained, monkeypatch):
    commands = []
    monkeypatch.setattr("genie.training.train.train", lambda *a, **b: commands.append(resume_command()) or 1.0)
    monkeypatch.setattr(sys, "argv", ["train.py", "debug=fast", "optimizer.lr=choice(0.001)", "--multirun"])
    main()
    (folder,) = Path("outputs/multirun").iterdir()
    assert commands == [
        f"python -m genie.train debug=fast 'optimizer.lr=choice(0.001)' hydra.sweep.dir={folder} resume=true --multirun"
    ]


@pytest.mark.parametrize("stage", ["tokenizer", "lam", "dynamics"])
def test_every_search_names_keys_of_its_stage_and_a_figure_with_a_direction(stage):
    from hydra_plugins.genie_optuna import distribution

    pytest.importorskip("optuna")
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [f"stage={stage}", f"hparams_search={stage}"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN" and config.hydra.sweeper.objective == config.objective
    assert direction(config.objective) == "max"
    parser = OverridesParser.create()
    for key, searched in config.hydra.sweeper.params.items():
        assert OmegaConf.select(config, key) is not None, key
        assert not distribution(parser.parse_override(f"{key}={searched}")).single()


def test_a_killed_search_goes_on(sweep, trained):
    pytest.importorskip("optuna")
    search = ["hydra/sweeper=optuna", "optimizer.lr=0.8,0.8", "hydra.sweeper.num_trials=2"]
    assert sweep(*search)[0] == 130 and column("status") == ["stopped"]
    code, out, err = sweep(*search)
    assert (code, out) == (2, "") and "resume=true" in err and err.count("\n") == 1
    assert sweep(*search, "resume=true")[0] == 0 and column("status") == ["completed", "completed"]
    assert [config["run_dir"] for config in trained] == [f"sweep/{job}/tokenizer" for job in (0, 0, 1)]


def test_wrong_options_are_one_line_before_any_work(sweep, trained):
    code, _, err = sweep("hydra/sweeper=optuna", "optimizer.lr=1,2", "objective=val/luck")
    assert code == 2 and err.count("\n") == 1 and trained == [] and not Path("sweep").exists()
    assert "give hydra.sweeper.direction=min or hydra.sweeper.direction=max" in err
