"""What a process knows of the others before it has loaded anything."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from genie.common.errors import SilentExit, UserError
from genie.common.process import first_here, on_first_rank, rank

CHILD = """import time
from genie.common.process import end_with_parent
end_with_parent()
print("up", flush=True)
time.sleep(60)"""
PARENT = f"""import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], env=os.environ | {{"GENIE_PARENT": str(os.getpid())}})
print(child.pid, flush=True)
time.sleep(60)"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels have no such thing")
def test_a_process_ends_with_the_one_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = Path("/proc") / parent.stdout.readline().strip()
    assert parent.stdout.readline() == "up\n" and child.exists()
    parent.kill()
    parent.wait()
    end = time.monotonic() + 20
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, True)),
        ({"LOCAL_RANK": "1"}, (1, False)),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, (1, True)),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "5", "LOCAL_RANK": "1"}, (5, False)),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "4", "LOCAL_RANK": "0"}, (4, True)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, (3, False)),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "3"}, (0, True)),  # a task of an array is by itself
    ],
)
def test_the_first_process_of_all_and_of_a_machine(monkeypatch, environment, expected):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (rank(), first_here()) == expected
    with pytest.raises(UserError) as error, on_first_rank():
        raise UserError("wrong")
    assert isinstance(error.value, SilentExit) != expected[1]
