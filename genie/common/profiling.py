"""Time, memory and software versions of a measurement.

What work costs: seconds, memory, and passes of the dynamics for each generated frame.

When a result was made, and with which versions.
"""

import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # seconds to import, and measuring needs none of it

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CLEAR_PEAK = "5"  # proc_pid_clear_refs(5): forget the peak of the resident memory


@dataclass
class Cost:
    """Of a piece of work: wall-clock `seconds`, and `peak_rss_mb`, the most memory (2^20 bytes) that the process held
    during it, with what it held before. Where the system cannot forget an earlier peak (all but Linux), the most so
    far."""

    seconds: float = 0.0
    peak_rss_mb: float = 0.0


OPEN: list[Cost] = []  # of the work that is being done, the innermost last


@contextmanager
def measured() -> Iterator[Cost]:
    """Gives the `Cost` of what is done inside, known at the end, also where that is an exception. One may be inside
    another."""
    cost = Cost()
    for outer in OPEN:  # their peak so far is about to be forgotten
        outer.peak_rss_mb = max(outer.peak_rss_mb, peak_rss_mb())
    _forget_peak()
    OPEN.append(cost)
    started = time.monotonic()
    try:
        yield cost
    finally:
        cost.seconds, cost.peak_rss_mb = time.monotonic() - started, max(cost.peak_rss_mb, peak_rss_mb())
        OPEN.pop()


def _forget_peak() -> None:
    with suppress(OSError):  # another system, or a container that forbids it
        CLEAR.write_text(CLEAR_PEAK)


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB of 2^20 bytes.

    Worker processes of a data loader are not counted. Linux has a figure of its own for it: that of getrusage begins
    with what the process held that started this one.
    """
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, kilobytes elsewhere


def peak_device_mb(device: "torch.device | None" = None) -> float | None:
    """The most memory that tensors have held on a CUDA device (None: the current one) so far, in MB of 2^20 bytes; None
    for other devices, and where none was used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized() or (device is not None and device.type != "cuda"):
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


@dataclass
class GenerationCost:
    """Of generated frames: how many there are, the passes of the dynamics and the seconds of all of them together."""

    frames: int = 0
    passes: int = 0
    seconds: float = 0.0

    def add(self, passes: list[int], seconds: float) -> None:
        """Frames that took so many passes each and `seconds` together."""
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


def software_versions() -> dict[str, str]:
    """Version of Python and of the packages that make the figures, by name; those that are not installed are not there.

    From a checkout that was never installed, `genie-world` is not there.
    """
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def now() -> str:
    """The time in UTC to the second, as in 2025-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")
