"""fp32 and bf16 in a matrix product of this machine's CPU: `python benchmarks/precision.py`."""

import statistics
import time

import torch

from genie.common.device import best_precision


def seconds(dtype: torch.dtype) -> float:
    """Median time of a 2048 x 256 by 256 x 512 product."""
    left, right = torch.randn(2048, 256).to(dtype), torch.randn(256, 512).to(dtype)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    ratio = seconds(torch.bfloat16) / seconds(torch.float32)
    print(f"bf16 takes {ratio:.2f} times as long as fp32; trainer.precision=auto takes {best_precision('cpu')}")
