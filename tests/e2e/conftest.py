"""The entry points as a user starts them: a process of their own, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 800  # seconds, of a process: all take a minute at most on a machine that does nothing else


def start(folder: Path, *arguments: str, packages: Path = ROOT, **options) -> subprocess.Popen:
    """`python <arguments>` in `folder`, with the packages of this checkout (or of `packages`)."""
    environment = os.environ | {"PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
    environment.pop("GENIE_TRACE", None)
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, **settings)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Waits for a process; a hanging one is killed."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def background():
    """(start, finish): start(folder, *arguments) gives the running process, finish(process) the finished one."""
    return start, finish


@pytest.fixture(scope="session")
def run():
    """run(folder, *arguments): the finished `python <arguments>`."""
    return lambda folder, *arguments, **options: finish(start(folder, *arguments, **options))


@pytest.fixture(scope="session")
def world(tmp_path_factory, run):
    """(folder, finished process) of `python -m genie.pipeline debug=fast` in an empty folder."""
    folder = tmp_path_factory.mktemp("world")
    return folder, run(folder, "-m", "genie.pipeline", "debug=fast")
