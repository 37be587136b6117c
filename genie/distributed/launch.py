"""Processes of a training: their number, their start on this machine, and supervision.

Lightning's launcher repeats the command line of the first process, which under `--multirun` is the whole sweep; here
each further process runs only the job that it belongs to.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from data_modules.worker_loader import num_cpus
from genie.common.errors import UserError
from genie.common.overrides import given_overrides
from genie.common.process import PARENT, TRAINING

ENDS_WELL = (None, 0, 130, 143)  # exit codes of a process that runs, has finished, or was told to stop
END_SECONDS = 60  # within which a process that has finished, or was told to stop, exits
GRACE_SECONDS = 10  # in which losing another process ends this one by itself: gloo raises, NCCL waits


def layout(trainer: dict[str, Any], launcher: str) -> tuple[int, int]:
    """(processes on each machine, machines) of the groups `trainer` and `launcher`.

    "auto" is what the launcher started; without a launcher all GPUs, or one other device. Raises UserError for devices
    that do not exist and for numbers that differ from those of the launcher.
    """
    kind = device_kind(trainer["accelerator"])
    if kind == "mps" and trainer["strategy"] != "auto":
        raise UserError(
            f"trainer.strategy={trainer['strategy']} does not run on MPS: use trainer=auto, or a ..._cpu one"
        )
    started, machines = _started(launcher), trainer["num_nodes"]
    here = count_devices(kind, started[0] if started and trainer["devices"] == "auto" else trainer["devices"])
    if machines == "auto" and not started:
        raise UserError("trainer.num_nodes is not given: trainer.num_nodes=2, or launcher=torchrun, which knows it")
    if machines == "auto":
        machines = started[1] // started[0]
    if started and (here, here * machines) != started:
        raise UserError(
            f"launcher={launcher} started {started[0]} processes on this machine and {started[1]} in all, and the "
            f"configuration asks for trainer.devices={here} on each of trainer.num_nodes={machines}: "
            "give the same numbers to both"
        )
    if machines > 1 and not started:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
        if missing:
            raise UserError(
                f"trainer.num_nodes={machines} with launcher=local needs {', '.join(missing)} in the environment of "
                "the command on each machine; launcher=torchrun and launcher=slurm set them"
            )
    return here, machines


def device_kind(accelerator: str) -> str:
    """cuda, mps or cpu, as Lightning would choose for this name. Raises UserError where there is no such device."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        return next(kind for kind, available in there.items() if available)
    kind = ("mps" if there["mps"] else "cuda") if accelerator == "gpu" else accelerator
    if not there.get(kind, True):
        raise UserError(
            f"trainer.accelerator={accelerator}: there is no such device here; trainer=cpu trains on the CPU, "
            "trainer=ddp_cpu on several processes of it"
        )
    return kind


def count_devices(kind: str, devices: Any) -> int:
    """The number of devices in `trainer.devices`: a number, "auto" or -1 (all), or a list of GPUs."""
    available = {"cuda": torch.cuda.device_count, "mps": lambda: 1}.get(kind)
    if devices == "auto" or devices == -1 and available:
        return available() if available else 1
    if isinstance(devices, list) and kind == "cuda":
        if not devices or len({*devices}) != len(devices) or not {*devices} <= {*range(available())}:
            raise UserError(f"trainer.devices={devices}: this machine has the GPUs {list(range(available()))}")
        return len(devices)
    if isinstance(devices, list) or devices < 1:
        raise UserError(f"trainer.devices={devices} must be a whole number of at least 1, or auto")
    if available and devices > available():
        raise UserError(f"trainer.devices={devices}: there are {available()} devices of kind {kind} on this machine")
    return devices


def _started(launcher: str) -> tuple[int, int] | None:
    """(processes on this machine, processes in total) of the launcher, None where the command starts them."""
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if launcher == "torchrun" and not under_torchrun:
        raise UserError(
            "launcher=torchrun, but torchrun did not start this: torchrun --nproc-per-node 2 -m genie.train "
            "launcher=torchrun ..., or launcher=local"
        )
    if launcher == "local":
        if under_torchrun:
            raise UserError("torchrun started this process: add launcher=torchrun, or start with python -m genie.train")
        return None
    return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])


class RankLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, with processes that are started as jobs of Hydra, watched, and ended with this one.

    `training`: distinguishes this training from others of the same process.
    """

    def __init__(self, environment: ClusterEnvironment, num_processes: int, num_nodes: int, training: str):
        super().__init__(environment, num_processes, num_nodes)
        self.training = training

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Starts the processes, unless this is one of them, and calls the function."""
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            self._start()
        if "OMP_NUM_THREADS" not in os.environ:  # each takes its share of the machine
            torch.set_num_threads(max(1, num_cpus() // self.num_processes))
        return function(*args, **kwargs)

    def _start(self) -> None:
        command, environment = this_job(), self.cluster_environment
        shared = {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
            PARENT: str(os.getpid()),
            TRAINING: self.training,
        }
        for local_rank in range(1, self.num_processes):
            own = os.environ | shared | {"LOCAL_RANK": str(local_rank)}
            self.procs.append(subprocess.Popen(command, env=own))
        self.watch = Watch(self.procs)
        self.watch.start()

    def end(self, failed: bool) -> None:
        """Returns when all processes have ended. `failed`: this one has, so the others are killed."""
        if not self.procs:
            return
        if failed:
            print_lost(self.procs)
        for process in self.procs:
            if failed:
                process.kill()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self.watch.over.set()


class Watch(threading.Thread):
    """Ends this process where a process that it has started died without causing an error here."""

    def __init__(self, processes: list[subprocess.Popen]):
        super().__init__(daemon=True, name="watch-ranks")
        self.processes, self.over = processes, threading.Event()

    def run(self) -> None:
        while not self.over.wait(1.0):
            if all(process.poll() in ENDS_WELL for process in self.processes):
                continue
            if self.over.wait(GRACE_SECONDS):
                return
            print_lost(self.processes)
            for process in self.processes:
                process.kill()
            os._exit(1)  # Python cannot interrupt what waits inside a library


def print_lost(processes: list[subprocess.Popen]) -> None:
    """Reports on stderr which of the processes has died, and why."""
    for number, process in enumerate(processes, 1):
        code = process.poll()
        if code not in ENDS_WELL:
            cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            hint = "the run goes on from its last checkpoint with resume=true"
            print(f"process {number} of this machine {cause}; {hint}", file=sys.stderr, flush=True)


def this_job() -> list[str]:
    """The command that runs this training, but not the sweep it belongs to. Raises UserError outside of a command."""
    if not HydraConfig.initialized():
        raise UserError("several processes are started by the command alone: python -m genie.train trainer=ddp ...")
    sources = HydraConfig.get().runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line"]
    flags = [word for folder in folders for word in ("--config-dir", folder)]
    return [sys.executable, "-m", "genie.train", *flags, *given_overrides(), "hydra.mode=RUN"]
