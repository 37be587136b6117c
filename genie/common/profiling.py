"""Time, memory, machine and software versions of a measurement."""

import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # takes seconds to import, and measuring does not need it

STATUS, CLEAR, CPUS = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/cpuinfo")
CLEAR_PEAK = "5"  # proc_pid_clear_refs(5): reset the peak of the resident memory


@dataclass
class Cost:
    """Wall-clock `seconds` of some work, and `peak_rss_mb`, the peak resident memory of the process (MB of 2^20 bytes)
    during it, including what it held before; on systems other than Linux the peak since the process started."""

    seconds: float = 0.0
    peak_rss_mb: float = 0.0


OPEN: list[Cost] = []  # of running measurements, the innermost last


@contextmanager
def measured() -> Iterator[Cost]:
    """Yields the `Cost` of the body, filled in at its end, also after an exception. Measurements may be nested."""
    cost = Cost()
    for outer in OPEN:  # their peak so far is about to be reset
        outer.peak_rss_mb = max(outer.peak_rss_mb, peak_rss_mb())
    with suppress(OSError):  # another system, or a container that forbids it
        CLEAR.write_text(CLEAR_PEAK)
    OPEN.append(cost)
    started = time.monotonic()
    try:
        yield cost
    finally:
        cost.seconds, cost.peak_rss_mb = time.monotonic() - started, max(cost.peak_rss_mb, peak_rss_mb())
        OPEN.pop()


def peak_rss_mb() -> float:
    """The peak resident memory of this process in MB of 2^20 bytes, without the workers of data loaders.

    On Linux from /proc: the peak of getrusage starts at what the parent process held.
    """
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, kilobytes elsewhere


def peak_device_mb(device: "torch.device | None" = None) -> float | None:
    """The peak memory of tensors on a CUDA device (None: the current one) in MB of 2^20 bytes; None for other devices
    and unused ones."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized() or (device is not None and device.type != "cuda"):
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


@dataclass
class GenerationCost:
    """Number of generated `frames`, and the `passes` of the dynamics and `seconds` that they took in total."""

    frames: int = 0
    passes: int = 0
    seconds: float = 0.0

    def add(self, passes: list[int], seconds: float) -> None:
        """`passes`: of each frame; `seconds`: of all of them."""
        self.frames += len(passes)
        self.passes += sum(passes)
        self.seconds += seconds

    @property
    def passes_per_frame(self) -> float:
        """Mean; NaN without frames."""
        return self.passes / self.frames if self.frames else float("nan")

    @property
    def seconds_per_frame(self) -> float:
        """Mean; NaN without frames. Of a batch, its seconds over its frames."""
        return self.seconds / self.frames if self.frames else float("nan")


PACKAGES = ("genie-world", "torch", "lightning", "torchmetrics", "hydra-core", "numpy", "h5py", "av")


def software_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of those of the packages that are installed (`genie-world` is not in a bare checkout)."""
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def machine() -> str:
    """The CPU's name, where the system tells it, and the number of cores that this process may use: "AMD EPYC, 2
    cores"."""
    lines = CPUS.read_text().splitlines() if CPUS.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = next(names, None) or platform.processor() or platform.machine()
    return f"{name}, {cores} {'core' if cores == 1 else 'cores'}"


def now() -> str:
    """The UTC time to the second, as in 2025-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")
