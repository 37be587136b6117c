"""How a training step of the ST-Transformer grows: `python -m benchmarks.scaling`.

Time and memory of a forward and backward pass against frames T, tokens of a frame S and width D, one of them at a time,
on one thread, each point in a process of its own. Beside each fitted exponent (the slope of the logarithms) stands that
of the arithmetic on the same points: of time the operations in matrix products by torch's FlopCounterMode, of memory
the bytes of what autograd keeps for the backward pass, each storage once. A row that grows faster than its arithmetic
by more than `slack` is named, and the exit code is 1.

    frames=8,16,32,64 tokens=16,64,256 width=128,256,512,1024    what is varied; the others stay at 16, 64 and 256
    batch=4 blocks=2 heads=8 repeats=5 slack=0.1
    output=scaling               .png with the plot, .json with all points
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arguments import arguments, started
from genie.common.device import keep_freed_memory
from genie.common.errors import RunError, UserError
from genie.common.plots import save_figure
from genie.common.settings.kinds import Count, Depth, NotNegative, Place, Settings, Several
from genie.models.initialization import initialize
from genie.models.st_transformer import STTransformer

Sizes = Annotated[list[Several], Field(min_length=2)]  # a slope needs two


class Arguments(Settings):
    frames: Sizes = [8, 16, 32, 64]
    tokens: Sizes = [16, 64, 256]
    width: Sizes = [128, 256, 512, 1024]
    batch: Count = 4
    blocks: Depth = 2
    heads: Count = 8
    repeats: Count = 5
    slack: NotNegative = 0.1
    output: Place = "scaling"


AXES = {"frames": ("T", 16), "tokens": ("S", 64), "width": ("D", 256)}  # letter, value while others are varied
MEASURES = {"seconds": ("time", "operations"), "memory": ("memory", "kept")}  # its name, its arithmetic


def point(frames: int, tokens: int, width: int, batch: int, blocks: int, heads: int, repeats: int) -> dict[str, float]:
    """`seconds` of CPU (the median), `operations`, peak `memory` beyond that of the model, and the bytes `kept`."""
    torch.set_num_threads(1)
    keep_freed_memory()
    side = math.isqrt(tokens)
    model = STTransformer(width, blocks, heads, (side, tokens // side))
    initialize(model, 0)
    x = torch.randn(batch, frames, tokens, width, generator=torch.Generator().manual_seed(0))
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model(x).square().mean().backward()
    memory = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss = model(x).square().mean()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved = sum(size for address, size in kept.items() if address not in own)
    loss.backward()
    # the counter does not know the CPU's kernel of attention, only the products that it stands for
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(x).square().mean().backward()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        model(x).square().mean().backward()
        times.append(time.process_time() - started)
    operations = counter.get_total_flops()
    return {"seconds": statistics.median(times), "operations": operations, "memory": memory, "kept": saved}


def measured(shape: dict[str, int]) -> dict[str, float]:
    """`point` in a process of its own: memory is a peak, which nothing takes back."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "point", json.dumps(shape)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if run.returncode:
        raise UserError(f"{shape} cannot be measured: {run.stderr.strip().splitlines()[-1:]}")
    return json.loads(run.stdout)


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def draw(found: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """A column for each axis: time above, memory below, and the arithmetic through the first point."""
    figure, axes = plt.subplots(2, len(found), figsize=(10, 6), layout="constrained", squeeze=False)
    units = {"seconds": ("s of CPU", 1.0), "memory": ("MiB", 2**-20)}
    for column, (axis, points) in enumerate(found.items()):
        sizes = list(points)
        for row, (measure, (_, arithmetic)) in enumerate(MEASURES.items()):
            panel, (unit, scale) = axes[row, column], units[measure]
            values = np.array([points[size][measure] for size in sizes]) * scale
            counted = np.array([points[size][arithmetic] for size in sizes])
            slopes = [exponent(sizes, list(each)) for each in (values, counted)]
            panel.loglog(sizes, values, "o-", label=f"measured: {slopes[0]:.2f}")
            expected = counted * values[-1] / counted[-1]
            panel.loglog(sizes, expected, "--", color="0.5", label=f"arithmetic: {slopes[1]:.2f}")
            panel.set(xlabel=f"{axis} {AXES[axis][0]}", ylabel=unit if column == 0 else None)
            panel.set_xticks(sizes, [str(size) for size in sizes])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.legend(title="exponent", fontsize="small")
    save_figure(figure, path)


def main() -> None:
    if sys.argv[1:2] == ["point"]:
        print(json.dumps(point(**json.loads(sys.argv[2]))))
        return
    given, _ = arguments(Arguments)
    same = {key: getattr(given, key) for key in ("batch", "blocks", "heads", "repeats")}
    found: dict[str, dict[int, dict[str, float]]] = {}
    faster = []
    for axis, (letter, _) in AXES.items():
        base = {name: value for name, (_, value) in AXES.items()}
        found[axis] = {size: measured({**base, axis: size, **same}) for size in getattr(given, axis)}
        for size, one in found[axis].items():
            print(
                f"{letter} {size:5d}: {one['seconds']:.3f} s, {one['operations'] / 1e9:.1f} G operations, "
                f"{one['memory'] / 2**20:.0f} MiB, {one['kept'] / 2**20:.0f} MiB kept", flush=True,
            )  # fmt: skip
    print("| against | time, exponent | operations | memory | kept |\n|---|---|---|---|---|")
    for axis, points in found.items():
        slopes = {}
        for measure, (name, arithmetic) in MEASURES.items():
            for each in (measure, arithmetic):
                slopes[each] = exponent(list(points), [one[each] for one in points.values()])
            if slopes[measure] > slopes[arithmetic] + given.slack:
                faster.append(f"{name} grows with {axis} faster than its arithmetic")
        cells = (f"{slopes[each]:.2f}" for each in ("seconds", "operations", "memory", "kept"))
        print(f"| {axis} {AXES[axis][0]}: {', '.join(map(str, points))} | {' | '.join(cells)} |")
    draw(found, Path(f"{given.output}.png"))
    Path(f"{given.output}.json").write_text(json.dumps(found, indent=1))
    if faster:
        raise RunError("; ".join(faster))


if __name__ == "__main__":
    started(main)
