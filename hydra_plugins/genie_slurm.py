"""Launcher of the jobs of a sweep, or of one run, as jobs of SLURM (`hydra/launcher=slurm`).

Hydra looks for plugins in this package. hydra-submitit-launcher submits the jobs and waits. Here a run that is not a
sweep trains into its own run folder, failed jobs are reported in one line, and a job knows the command that started it.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from genie.common.cli import FAILED, JobFailed, one_line
from genie.common.errors import UserError
from genie.common.settings.kinds import Range

# the options that apply to processes on this machine, too
LOCAL = ("submitit_folder", "name", "nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "timeout_min")
SIGNAL = "USR1"  # on which a run in training saves and asks to be queued again
RUN_DIR = "run_dir=${output_dir}/${name}/${stage.name}"  # as conf/train.yaml has it


class SlurmJobs(Launcher):
    """The options are those of conf/hydra/launcher/slurm.yaml."""

    def __init__(self, cluster: str, **options: Any) -> None:
        self.cluster, self.options = cluster, options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises UserError where the launcher is not installed, and for invalid options."""
        self.config = config
        self.check()
        os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", SIGNAL)  # read when submitit is imported, here and there
        try:
            from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher, SlurmLauncher
        except ImportError as error:
            raise UserError("launcher=slurm needs submitit: pip install 'genie-world[slurm]'") from error
        if self.cluster == "slurm" and shutil.which("srun") is None:
            raise UserError(
                "launcher=slurm needs srun, which is not here: start it on a machine of the cluster, or take "
                "hydra.launcher.cluster=local"
            )
        options = self.options | ({"gpus_per_node": None} if config.trainer.accelerator == "cpu" else {})
        if self.cluster == "slurm":
            self.submitit: Launcher = SlurmLauncher(**options)
        else:
            self.submitit = LocalLauncher(**{name: options[name] for name in LOCAL})
        task = FromCommand(task_function, sys.argv)
        self.submitit.setup(hydra_context=hydra_context, task_function=task, config=config)

    def check(self) -> None:
        """Raises UserError for the first invalid option."""
        if self.cluster not in ("slurm", "local"):
            raise UserError(f"hydra.launcher.cluster={self.cluster}: choose slurm or local")
        trainer = OmegaConf.to_container(self.config.trainer, resolve=False)
        for key in ("devices", "num_nodes"):
            if not isinstance(trainer[key], int) or trainer[key] < 1:
                raise UserError(f"launcher=slurm asks for a number of GPUs: give trainer.{key}, not {trainer[key]}")
        Range(1).require("hydra.launcher.timeout_min", self.options["timeout_min"])
        if self.cluster == "local" and trainer["num_nodes"] > 1:
            raise UserError("hydra.launcher.cluster=local is one machine: give trainer.num_nodes=1")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits the jobs and waits for them."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        jobs = []
        for overrides in job_overrides:  # a job that is queued again resumes, unless the user decides how to start
            given = any(override.startswith(("resume=", "overwrite=")) for override in overrides)
            jobs.append([*overrides, *([] if given else ["resume=true"])])
        if self.is_one_run(jobs):
            jobs[0].append(RUN_DIR)
        try:
            returned = self.submitit.launch(jobs, initial_job_idx)
        except (FailedJobError, UncompletedJobError) as error:
            where = self.config.hydra.sweep.dir
            raise UserError(
                f"a job ended without a result, see {where}/.submitit ({one_line(error)[-200:]})"
            ) from error
        FAILED.extend(job.return_value for job in returned if isinstance(job.return_value, JobFailed))
        return returned

    def is_one_run(self, jobs: list[list[str]]) -> bool:
        """Whether this is one run without a search, lists of values and a folder of its own."""
        search = "BasicSweeper" not in self.config.hydra.sweeper._target_
        return not search and len(jobs) == 1 and not any(override.startswith("run_dir=") for override in jobs[0])


class FromCommand:
    """A task in a process that submitit started, with the command line of this one, which is in its run's record, and
    with torchrun's variables, which number the job's processes."""

    def __init__(self, task: TaskFunction, arguments: list[str]) -> None:
        self.task, self.arguments = task, list(arguments)

    def __call__(self, config: DictConfig) -> Any:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        sys.argv[:] = self.arguments
        return self.task(config)
