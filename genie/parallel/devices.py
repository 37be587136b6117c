"""How many processes a configuration asks for, and whether this machine and what started them can give that many."""

import os
from typing import Any

import torch

from genie.common.errors import UserError

LAUNCHERS = ("local", "torchrun", "slurm")


def layout(trainer: dict[str, Any], launcher: str) -> tuple[int, int]:
    """(processes on each machine, machines) of the groups `trainer` and `launcher`.

    "auto" is one device, or what the launcher started; on GPUs without a launcher all of them. Raises UserError for
    devices that are not there and for numbers that are not those of the launcher.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"launcher.name={launcher}: choose one of {', '.join(LAUNCHERS)}")
    kind = device_kind(trainer["accelerator"])
    if kind == "mps" and trainer["strategy"] != "auto":
        raise UserError(
            f"trainer.strategy={trainer['strategy']} does not run on MPS: use trainer=auto, or a ..._cpu one"
        )
    started = _started(launcher)
    here, machines = trainer["devices"], trainer["num_nodes"]
    if here == "auto" and started:
        here = started[0]
    here = count_devices(kind, here)
    if machines == "auto" and not started:
        raise UserError("trainer.num_nodes is not given: trainer.num_nodes=2, or launcher=torchrun, which knows it")
    if machines == "auto":
        machines = started[1] // started[0]
    if not isinstance(machines, int) or isinstance(machines, bool) or machines < 1:
        raise UserError(f"trainer.num_nodes={machines} must be a whole number of at least 1")
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
    """cuda, mps or cpu: what Lightning would take for this name. Raises UserError where there is no such device."""
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
    """How many devices of a kind `trainer.devices` means: a number, "auto" or -1 (all), or a list of GPUs."""
    available = {"cuda": torch.cuda.device_count, "mps": lambda: 1}.get(kind)
    if devices == "auto" or devices == -1 and available:
        return available() if available else 1
    if isinstance(devices, list) and kind == "cuda":
        if not devices or len({*devices}) != len(devices) or not {*devices} <= {*range(available())}:
            raise UserError(f"trainer.devices={devices}: this machine has the GPUs {list(range(available()))}")
        return len(devices)
    if not isinstance(devices, int) or isinstance(devices, bool) or devices < 1:
        raise UserError(f"trainer.devices={devices} must be a whole number of at least 1, or auto")
    if available and devices > available():
        raise UserError(f"trainer.devices={devices}: there are {available()} devices of kind {kind} on this machine")
    return devices


def _started(launcher: str) -> tuple[int, int] | None:
    """(processes on this machine, processes in all) that the launcher has started, None where the command does it."""
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
