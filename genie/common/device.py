"""Device, precision and memory of this machine."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from genie.common.errors import UserError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # parameters of mallopt(3)
CPU_MESSAGES = ("can't allocate memory", "not enough memory", "Cannot allocate memory")  # of torch and of the system


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to keep freed memory; returns whether it accepted the settings.

    By default it returns each large block to the kernel, which has to find, clear and map pages for the next tensor;
    `benchmarks/memory.py` prints the cost per step. Does nothing with another C library, or where the user has set any
    `MALLOC_*` variable.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20}
    return all(mallopt(parameter, value) == 1 for parameter, value in settings.items())


def best_precision(accelerator: str = "auto") -> str:
    """Lightning's name of the fastest precision here without loss scaling: bf16-mixed or 32-true.

    A CPU without bf16 instructions emulates bf16, many times slower than fp32 (`benchmarks/precision.py`).
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        device = "cuda"
    elif accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        device = "mps"
    else:
        device = "cpu"
    return "bf16-mixed" if has_bf16(device) else "32-true"


def has_bf16(device: str) -> bool:
    """Whether a `torch.device.type` multiplies matrices in bf16 without emulation."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name (`cpu`, `cuda`, `cuda:1`, `mps`), for `auto` the fastest available one.

    Raises UserError for a device that is unknown or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        message = str(error).splitlines()[0]
        raise UserError(f"device={name} cannot be used here ({message}): give device=auto") from error
    return device


@contextmanager
def inference(device: torch.device) -> Iterator[str]:
    """Disables gradients, and uses bf16 where the device is faster with it; yields the name of the precision."""
    precision = best_precision("cpu" if device.type == "cpu" else "auto")
    bf16 = precision == "bf16-mixed"
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        yield precision


def full_precision(like: Tensor) -> AbstractContextManager:
    """Disables autocast on the device of `like` (the meta device, used for counting, has none)."""
    return nullcontext() if like.device.type == "meta" else torch.autocast(like.device.type, enabled=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports exhausted memory, of a GPU or of the process."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in CPU_MESSAGES)
    )


def remedies(config: dict[str, Any], num_devices: int) -> list[str]:
    """At most three overrides that lower a training's memory, the cheapest first; `num_devices`: the machine's GPUs."""
    data, trainer = config["data"], config["trainer"]
    size, accumulate = data["batch_size"], trainer["accumulate"]
    found = []
    if size > 1:
        found.append(f"data.batch_size={size // 2} trainer.accumulate={accumulate * -(-size // (size // 2))}")
    if not trainer["activation_checkpointing"]:
        found.append("trainer.activation_checkpointing=true")
    if num_devices > 1 and "fsdp" not in str(trainer["strategy"]):
        found.append("trainer=fsdp")
    if trainer["precision"] == "32-true":
        found.append("trainer.precision=bf16-mixed")
    if num_devices and not config["optimizer"]["cpu_offload"]:
        found.append("optimizer.cpu_offload=true")
    if data["num_frames"] > 2:
        found.append(f"data.num_frames={max(2, data['num_frames'] // 2)}")
    if size <= 1:
        found.append("a smaller model=")
    return found[:3]


def advice(config: dict[str, Any]) -> str:
    """The one-line message for a training that ran out of memory."""
    devices = torch.cuda.device_count()
    return f"out of memory: give {', or '.join(remedies(config, devices))} (with resume=true the run goes on)"
