"""The search with Optuna, without training: what it draws, what it learns, and that nothing of it is lost."""

import sys
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from genie.common.cli import JobFailed
from genie.common.errors import UserError
from hydra_plugins.genie_optuna import JOURNAL, OptunaSweeper, distribution

optuna = pytest.importorskip("optuna")
LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


class Launcher:
    """Runs jobs by a function of their overrides {key: text}; remembers their numbers, batches and overrides."""

    def __init__(self, function):
        self.function, self.jobs, self.batches = function, [], []

    def launch(self, jobs, initial_job_idx):
        self.batches.append(len(jobs))
        results = []
        for number, job in enumerate(jobs, initial_job_idx):
            given = dict(override.split("=", 1) for override in job)
            self.jobs.append((number, given))
            results.append(SimpleNamespace(return_value=self.function(given)))
        return results


@pytest.fixture
def search(tmp_path):
    """search(function, *arguments, resume=False, …): (the launcher, the study) after the search."""

    def run(function, *arguments, folder="sweep", resume=False, overwrite=False, **options):
        defaults = {"sampler": "tpe", "seed": 0, "num_trials": 5, "batch_size": 1, "objective": "val/loss"}
        sweeper = OptunaSweeper(**{**defaults, "direction": "auto", "params": {}, **options})
        sweeper.hydra_context = SimpleNamespace(config_loader=SimpleNamespace(load_sweep_config=lambda **_: None))
        dirs = {"hydra": {"sweep": {"dir": str(tmp_path / folder)}}}
        sweeper.config = OmegaConf.create({"resume": resume, "overwrite": overwrite, **dirs})
        sweeper.launcher = Launcher(function)
        run.launcher = sweeper.launcher
        sweeper.sweep(list(arguments))
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / folder / JOURNAL))
        storage = optuna.storages.JournalStorage(backend)
        return sweeper.launcher, optuna.load_study(study_name="sweep", storage=storage)

    return run


def distance(given):
    """Best at 0.003."""
    return abs(float(given["optimizer.lr"]) - 0.003)


def rates(launcher):
    return [float(given["optimizer.lr"]) for _, given in launcher.jobs]


@pytest.mark.parametrize("objective", ["val/loss", "val/psnr"])
def test_it_learns_what_is_better(search, objective):
    sign = 1 if objective == "val/loss" else -1
    launcher, study = search(lambda given: sign * distance(given), LR, objective=objective, num_trials=40)
    found = rates(launcher)
    assert len(found) == 40 and all(1e-4 <= lr <= 1e-1 for lr in found)
    near = [sum(0.001 < lr < 0.009 for lr in part) / len(part) for part in (found[:10], found[20:])]
    assert near[1] > near[0] + 0.3  # the first ten are drawn at random
    assert abs(study.best_value) == min(distance(given) for _, given in launcher.jobs)


def test_a_killed_search_draws_what_it_would_have_drawn(search):
    whole, _ = search(distance, LR, num_trials=14, folder="whole")

    def killed(given):
        if len(search.launcher.jobs) == 13:
            raise KeyboardInterrupt
        return distance(given)

    with pytest.raises(KeyboardInterrupt):
        search(killed, LR, num_trials=14)
    with pytest.raises(UserError, match="holds a sweep already: resume=true"):
        search(distance, LR, num_trials=14)
    rest, study = search(distance, LR, num_trials=14, resume=True)
    assert [number for number, _ in rest.jobs] == [12, 13]
    assert rest.jobs == whole.jobs[12:]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 14
    assert search(distance, LR, num_trials=14, resume=True)[0].jobs == []
    assert [number for number, _ in search(distance, LR, num_trials=15, resume=True)[0].jobs] == [14]
    assert len(search(distance, LR, num_trials=2, overwrite=True)[1].trials) == 2


def test_another_seed_draws_other_trials(search):
    one, two = (search(distance, LR, seed=seed, folder=str(seed))[0] for seed in (0, 1))
    assert len(set(rates(one)) | set(rates(two))) == 10


@pytest.mark.parametrize("value", [JobFailed("no"), float("nan"), float("inf"), None])
def test_a_trial_without_a_value_counts_and_teaches_nothing(search, value):
    launcher, study = search(lambda given: value if given["seed"] == "1" else 0.5, "seed=1,2", num_trials=6)
    assert [trial.state.name for trial in study.trials] == [
        "FAIL" if given["seed"] == "1" else "COMPLETE" for _, given in launcher.jobs
    ]
    assert {given["seed"] for _, given in launcher.jobs} == {"1", "2"}


def test_the_command_line_wins_over_the_configuration_and_the_rest_is_passed_on(search):
    params = {"optimizer.lr": "interval(1,2)", "seed": "choice(7,8)"}
    launcher, _ = search(lambda given: 0.0, "optimizer.lr=interval(3,4)", "name=x", params=params)
    for _, given in launcher.jobs:
        assert 3 <= float(given["optimizer.lr"]) <= 4 and given["seed"] in "78" and given["name"] == "x"


def test_batches_are_launched_together(search):
    launcher, _ = search(distance, LR, num_trials=5, batch_size=2)
    assert launcher.batches == [2, 2, 1] and [number for number, _ in launcher.jobs] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.1,0.5)", optuna.distributions.FloatDistribution(0.1, 0.5)),
        ("tag(log,interval(1e-4,1e-2))", optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("range(0,801,200)", optuna.distributions.IntDistribution(0, 800, step=200)),
        ("range(0.5,2,0.5)", optuna.distributions.CategoricalDistribution(["0.5", "1.0", "1.5"])),
        ("1,2", optuna.distributions.CategoricalDistribution(["1", "2"])),
        ("choice([1,2],[3])", optuna.distributions.CategoricalDistribution(["[1,2]", "[3]"])),
    ],
)
def test_hydras_words_for_a_sweep_are_optunas(text, expected):
    assert distribution(OverridesParser.create().parse_override(f"key={text}")) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "best"}, "hydra.sweeper.sampler=best must be one of: tpe, random, gp"),
        ({"num_trials": 0}, "hydra.sweeper.num_trials=0 must be a whole number"),
        ({"direction": "up"}, "hydra.sweeper.direction=up must be auto, min or max"),
    ],
)
def test_wrong_options_are_refused(search, options, words):
    with pytest.raises(UserError, match=words):
        search(distance, LR, **options)
    assert search.launcher.jobs == []


def test_nothing_to_search_and_a_missing_optuna_are_said(search, monkeypatch):
    with pytest.raises(UserError, match="there is nothing to search"):
        search(distance, "optimizer.lr=0.1")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'genie-world\[sweeps\]'"):
        search(distance, LR)
