"""Putting a job of SLURM back into its queue, so that it goes on where it was stopped.

The command of the job has to say resume=true, which starts from the first step where there is nothing to resume.
"""

import os
import subprocess
from collections.abc import Mapping

WAIT_SECONDS = 30


def slurm_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id of the job that this process belongs to, as `scontrol` takes it; None outside of SLURM."""
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID")


def requeue(job: str) -> str:
    """Requeues a job; says in a few words what came of it."""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {job} could not be requeued ({error})"
    if done.returncode:
        return f"job {job} could not be requeued ({' '.join(done.stderr.split()) or f'exit code {done.returncode}'})"
    return f"job {job} is requeued"
