"""What is refused before anything is submitted, and what is said of a job that died."""

import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from genie.common.cli import FAILED, JobFailed
from genie.common.errors import UserError
from hydra_plugins.genie_slurm import RUN_DIR, SlurmJobs


def launcher(cluster="slurm", trainer=None, sweeper="BasicSweeper", **options):
    jobs = SlurmJobs(cluster, timeout_min=60, **options)
    hydra = {
        "sweep": {"dir": "sweep"},
        "sweeper": {"_target_": f"hydra._internal.core_plugins.basic_sweeper.{sweeper}"},
    }
    settings = {"accelerator": "cpu", "devices": 1, "num_nodes": 1} | (trainer or {})
    jobs.config = OmegaConf.create({"trainer": settings, "hydra": hydra})
    return jobs


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"cluster": "cloud"}, "choose slurm or local"),
        ({"trainer": {"devices": "auto"}}, "give trainer.devices, not auto"),
        ({"trainer": {"devices": -1}}, "give trainer.devices, not -1"),
        ({"trainer": {"num_nodes": 0}}, "give trainer.num_nodes, not 0"),
        ({"cluster": "local", "trainer": {"num_nodes": 2}}, "one machine"),
    ],
)
def test_what_cannot_be_is_one_line(made, words):
    with pytest.raises(UserError, match=words):
        launcher(**made).check()


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_submitit_launcher", None)
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_submitit_launcher.submitit_launcher", None)
    jobs = launcher()
    with pytest.raises(UserError, match="genie-world\\[slurm\\]"):
        jobs.setup(hydra_context=None, task_function=None, config=jobs.config)


def test_away_from_a_cluster_one_line_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    jobs = launcher()
    with pytest.raises(UserError, match="needs srun.*cluster=local"):
        jobs.setup(hydra_context=None, task_function=None, config=jobs.config)


def submitted(jobs, overrides, outcome):
    """The overrides that reach submitit, whose jobs end as `outcome` says."""
    given = []

    def launch(job_overrides, initial_job_idx):
        given.extend(job_overrides)
        return outcome()

    jobs.submitit = SimpleNamespace(launch=launch)
    jobs.launch(overrides, 0)
    return given


def test_only_one_run_that_is_no_sweep_keeps_its_run_folder():
    pytest.importorskip("submitit")
    one, on = [["seed=1"]], "resume=true"
    assert submitted(launcher(), one, list) == [["seed=1", on, RUN_DIR]]
    assert submitted(launcher(), [["seed=1"], ["seed=2"]], list) == [["seed=1", on], ["seed=2", on]]
    assert submitted(launcher(), [["run_dir=here"]], list) == [["run_dir=here", on]]
    assert submitted(launcher(sweeper="OptunaSweeper"), one, list) == [["seed=1", on]]
    assert submitted(launcher(), [["overwrite=true"]], list) == [["overwrite=true", RUN_DIR]]


def test_what_went_wrong_elsewhere_is_known_here():
    submitit = pytest.importorskip("submitit")
    FAILED.clear()
    results = [SimpleNamespace(return_value=value) for value in (0.5, JobFailed("no such data"))]
    submitted(launcher(), [["seed=1"], ["seed=2"]], lambda: results)
    assert [JobFailed("no such data")] == FAILED
    FAILED.clear()

    def died():
        raise submitit.core.utils.UncompletedJobError("Job 7 (task: 0)\nwas killed")

    with pytest.raises(UserError, match="sweep/.submitit.*was killed"):
        submitted(launcher(), [["seed=1"]], died)
