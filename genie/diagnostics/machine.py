"""Machine: devices and the precision that fits them, memory, disk, videos, and drawing without a display."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from data_modules.environments.observations import ADVICE, find_opengl, is_headless
from data_modules.formats.decoding import DECODERS, probe
from data_modules.worker_loader import num_cpus
from genie.common.device import best_precision, choose_device
from genie.common.errors import failure
from genie.common.files import cache_folder
from genie.common.media import write_mp4
from genie.common.tables import size
from genie.diagnostics.finding import Finding

LITTLE_DISK = 5 * 2**30  # bytes; data and run of experiment=pong take less than 1 GiB
LITTLE_SHARED = 2**30  # bytes, through which workers hand over batches; a container of Docker has 64 MiB
CPU_FLAGS = {"AVX-512 BF16": torch.cpu._is_avx512_bf16_supported, "AMX": torch.cpu._is_amx_tile_supported}


def devices() -> Iterator[Finding]:
    """Every device, and the one that device=auto takes."""
    threads = f"{torch.get_num_threads()} threads of PyTorch"
    yield Finding("devices", "cpu", "ok", f"{processor()}, {num_cpus()} cores, {threads}")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        major, minor = torch.cuda.get_device_capability(number)
        memory = f"{size(free)} of {size(total)} free"
        about = f"{torch.cuda.get_device_name(number)}, compute capability {major}.{minor}, {memory}"
        yield Finding("devices", f"cuda:{number}", "ok", about)
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "ok", "Apple's GPU")
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        reason = f"nvidia-smi is here, but PyTorch {torch.__version__} finds no GPU: it was built for {built}"
        yield Finding("devices", "cuda", "note", reason, "install the build of PyTorch for your driver")
    yield Finding("devices", "device=auto", "ok", str(choose_device()))


def precision() -> Iterator[Finding]:
    """The precision that trainer.precision=auto takes, and why."""
    chosen = best_precision()
    yield Finding("devices", "precision", "ok", f"{chosen}: {why_precision()}")


def why_precision() -> str:
    """The reason for `best_precision()`."""
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return f"the GPU multiplies in bf16 (compute capability {major}.{minor}; from 8.0 on)"
        return (
            f"the GPU has no bf16 (compute capability {major}.{minor}; from 8.0 on); fp16 with scaled losses is "
            "trainer.precision=16-mixed"
        )
    if torch.backends.mps.is_available():
        return "fp32 on Apple's GPU"
    there = [name for name, supported in CPU_FLAGS.items() if supported()]
    if there:
        return f"the CPU multiplies in bf16 ({', '.join(there)})"
    return f"fp32, for the CPU emulates bf16 (no {', no '.join(CPU_FLAGS)})"


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory() -> Iterator[Finding]:
    """RAM, and the shared memory of worker processes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in CGROUP_LIMITS if (limit := number_in(file)) is not None and limit < total]
    limited = f", of which this container may use {size(min(limits))}" if limits else ""
    yield Finding("memory", "RAM", "ok", f"{size(total)}{limited}{available()}")
    shared = Path("/dev/shm")
    if shared.is_dir() and (room := shutil.disk_usage(shared).total) < LITTLE_SHARED:
        advice = "docker run --shm-size=2g, or data.num_workers=0"
        yield Finding("memory", "shared memory", "note", f"/dev/shm has {size(room)}: little for workers", advice)


CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> str:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return ""
    kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
    return "" if kib is None else f", {size(1024 * kib)} available"


def number_in(file: str) -> int | None:
    """The number that a file holds; None where there is none."""
    try:
        return int(Path(file).read_text())
    except (OSError, ValueError):
        return None


def disk() -> Iterator[Finding]:
    """Room, and whether one may write, here and in the cache folder."""
    for name, folder in (("here", Path.cwd()), ("cache", cache_folder())):
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        free, writable = shutil.disk_usage(there).free, os.access(there, os.W_OK)
        value = f"{size(free)} free in {folder}{'' if writable else ', which cannot be written'}"
        other = "GENIE_CACHE= is another folder for weights and encoded frames" if name == "cache" else ""
        status = "ok" if writable and free > LITTLE_DISK else "note"
        yield Finding("disk", name, status, value, other if status == "note" else "")


def videos() -> Iterator[Finding]:
    """A video is written as H.264 and read by every decoder there is."""
    written = np.arange(8, dtype=np.uint8)[:, None, None, None] * 30 + np.zeros((8, 64, 64, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp4(Path(folder) / "test.mp4", written, 10)
        yield Finding("video", "encoder", "ok", "H.264 (libx264)")
        video = probe(path)
        for name, decoder in DECODERS.items():
            if name == "auto" or name == "decord" and find_spec(name) is None:
                continue  # the other one, and an extra
            try:
                opened = decoder(video)
                read = np.stack(list(opened.read(np.arange(len(written)))))
                opened.close()
                wrong = float(np.abs(read.astype(float) - written).mean())
                if wrong > 3:
                    raise ValueError(f"frames differ from those written by {wrong:.0f} of 255")
                yield Finding("video", name, "ok", "reads it frame by frame")
            except Exception as error:  # each library has many exceptions of its own
                status = "broken" if name == "pyav" else "note"
                yield Finding("video", name, status, failure(error), "data.videos.decoder=pyav does not need it")


def drawing() -> Iterator[Finding]:
    """What simulators draw with: a display, or EGL or OSMesa without one, which MuJoCo alone needs."""
    shown = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    display = "none; Atari, MinAtar and classic control need none" if is_headless() else f"{shown or 'the desktop'}"
    yield Finding("drawing", "display", "ok", display)
    if find_spec("mujoco") is None:
        yield Finding("drawing", "MuJoCo", "missing", "not installed: EGL and OSMesa are of no concern")
    elif renderer := find_opengl():
        yield Finding("drawing", "MuJoCo", "ok", f"draws with {renderer}")
    else:
        yield Finding("drawing", "MuJoCo", "note", "cannot draw pictures here", ADVICE)
