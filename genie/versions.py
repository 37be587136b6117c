"""When a result was made, and with which versions."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

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
