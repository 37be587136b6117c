"""What `keep_freed_memory` gains in a training step: `python benchmarks/memory.py` prints both and their ratio.

Each setting runs in a process of its own, since the allocator cannot be told to forget it.
"""

import subprocess
import sys

STEP = """
import statistics, sys, time
if sys.argv[1] == "keep":
    from genie.common.device import keep_freed_memory
    assert keep_freed_memory()
import torch
from genie.models import LatentActionModel
model = LatentActionModel((64, 64), 16, 3, 192, 2, 6)
frames = torch.rand(32, 8, 3, 64, 64)
times = []
for _ in range(8):
    start = time.perf_counter()
    (model(frames).prediction - frames[:, 1:]).square().mean().backward()
    times.append(time.perf_counter() - start)
print(statistics.median(times[3:]))
"""


def seconds(setting: str) -> float:
    """Median time of a training step with the allocator's `default` or with `keep`."""
    run = subprocess.run([sys.executable, "-c", STEP, setting], capture_output=True, text=True, check=True)
    return float(run.stdout)


if __name__ == "__main__":
    default, keep = seconds("default"), seconds("keep")
    print(f"a training step takes {default:.2f} s, with freed memory kept {keep:.2f} s: ratio {default / keep:.1f}")
