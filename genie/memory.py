"""Keep freed memory in the process on CPU, where giving it back to the system costs more than the arithmetic.

glibc returns every large block to the kernel when a tensor dies and asks for it again when the next one is made;
each time the kernel has to clear and map its pages. `benchmarks/memory.py` prints what that costs in a training step.
"""

import ctypes
import os
import sys

# parameters of mallopt(3)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to keep what is freed; returns whether it took the settings.

    Does nothing where there is another C library, or where the user has set any `MALLOC_*` variable.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 * 2**20}
    return all([mallopt(parameter, value) == 1 for parameter, value in settings.items()])
