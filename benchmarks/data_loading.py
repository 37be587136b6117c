"""How fast clips are read, and with how much memory: python -m benchmarks.data_loading [root] [key=value ...]

One line for each combination of workers and in_memory: clips per second over `batches` batches of the training
loader, and the peak resident memory of the process and of its largest worker. Each runs in a process of its own.
"""

import resource
import subprocess
import sys
import time
from itertools import islice

DEFAULTS = {"num_frames": 16, "batch_size": 16, "batches": 150, "height": 64, "width": 64}


def measure(root: str, num_workers: int, in_memory: bool, settings: dict[str, int]) -> None:
    from data_modules.clip_data_module import ClipDataModule

    before = peak_mb(resource.RUSAGE_SELF)
    data = ClipDataModule(
        root,
        (settings["height"], settings["width"]),
        num_frames=settings["num_frames"],
        batch_size=settings["batch_size"],
        num_workers=num_workers,
        in_memory=in_memory,
    )
    data.setup()
    batches = iter(data.train_dataloader())
    for _ in islice(batches, 10):
        pass
    start = time.perf_counter()
    count = sum(len(batch["seed"]) for batch in islice(batches, settings["batches"]))
    speed = count / (time.perf_counter() - start)
    own = peak_mb(resource.RUSAGE_SELF)
    del batches  # ends the workers: only then their memory is known
    worker = peak_mb(resource.RUSAGE_CHILDREN)
    print(
        f"num_workers={num_workers} in_memory={str(in_memory):5}  {speed:6.0f} clips/s  {own:5.0f} MB "
        f"(after imports {before:.0f})" + (f", a worker {worker:.0f} MB" if num_workers else "")
    )


def peak_mb(who: int) -> float:
    """Peak resident memory in MB; Linux counts in KiB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if "=" not in argument]
    root = arguments[0] if arguments else "data/pong_64x64"
    settings = DEFAULTS | {key: int(value) for key, _, value in (a.partition("=") for a in sys.argv[1:] if "=" in a)}
    if len(arguments) == 3:
        measure(root, int(arguments[1]), arguments[2] == "True", settings)
        return
    print(f"{root}, {settings}", flush=True)
    overrides = [f"{key}={value}" for key, value in settings.items()]
    for num_workers in (0, 2):
        for in_memory in (False, True):
            subprocess.run(
                [sys.executable, "-m", "benchmarks.data_loading", root, str(num_workers), str(in_memory), *overrides],
                check=True,
            )


if __name__ == "__main__":
    main()
