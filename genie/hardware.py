"""What depends on the machine: the fast precision, an allocator that keeps what it was given, memory that was used."""

import ctypes
import os
import sys

import torch

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed; returns whether it took the settings.

    It returns every large block to the kernel when a tensor dies and asks for it again for the next one, and each
    time the kernel has to find, clear and map its pages. `benchmarks/memory.py` prints what that costs in a step.

    Does nothing where there is another C library, or where the user has set any `MALLOC_*` variable.
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
    """Lightning's name of the precision that trains fastest here without loss scaling: bf16-mixed or 32-true.

    On a CPU without bf16 instructions bf16 is emulated and takes many times as long as fp32
    (`benchmarks/precision.py` prints the ratio).
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        device = "cuda"
    elif accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        device = "mps"
    else:
        device = "cpu"
    return "bf16-mixed" if has_bf16(device) else "32-true"


def has_bf16(device: str) -> bool:
    """Whether a type of device, as in `torch.device.type`, multiplies matrices in bf16 without emulating it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
