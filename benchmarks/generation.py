"""What a generated frame costs: `python benchmarks/generation.py` prints milliseconds and their ratios.

The preset `pong` with clips of 16 frames, untrained (`run=outputs/pong`: a trained world, with its own window, which the
adaptive sampler needs: how many passes it takes depends on how sure the model is). Every figure is the median over
repeats of a number of frames in a row that is a multiple of the window, so that each has its share of windows begun
anew; what is compared takes turns, so that another program's load hits both.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from hydra import compose, initialize_config_module

from genie.cli import to_plain
from genie.hardware import keep_freed_memory
from genie.models.initialization import initialize
from genie.stages import STAGES
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

REPEATS = 3


def untrained_world(window: int) -> WorldModel:
    """The models of the preset `pong` as they are before training."""
    with initialize_config_module("conf", version_base="1.3"):
        stages = [
            STAGES[name](to_plain(compose("train", [f"stage={name}", "experiment=pong"])))
            for name in ("tokenizer", "dynamics")
        ]
    for stage in stages:
        initialize(stage.model, 0)
    return WorldModel(stages[0].model.eval(), stages[1].model.eval(), window=window)


def milliseconds(world: WorldModel, frames: int, batch: int, sampler: Sampler, cached: bool = True) -> float:
    """Per frame, `frames` in a row of `batch` worlds, after a window of them."""
    world.sampler, world.cached = sampler, cached
    actions = torch.zeros(batch, dtype=torch.int64)
    state = world.reset(torch.rand(batch, 1, 3, *world.image_size))
    for _ in range(world.window if cached else 1):
        state, _ = world.step(state, actions)
    while state.lengths[0] < world.window - 1:
        state = state.appended(state.tokens[:, -1], actions)  # a full window, without the time to make it
    started = time.perf_counter()
    for _ in range(frames):
        state, _ = world.step(state, actions)
    return 1000 * (time.perf_counter() - started) / frames


def at_frames(world: WorldModel, sampler: Sampler, around: list[int]) -> list[float]:
    """Milliseconds per frame of one long video: over two windows that begin at each of the frames `around`."""
    world.sampler, world.cached = sampler, True
    state, actions = world.reset(torch.rand(1, 1, 3, *world.image_size)), torch.zeros(1, dtype=torch.int64)
    times = []
    for _ in range(max(around) + 2 * world.window):
        started = time.perf_counter()
        state, _ = world.step(state, actions)
        times.append(1000 * (time.perf_counter() - started))
    return [statistics.mean(times[first : first + 2 * world.window]) for first in around]


def medians(*measures: Callable[[], float]) -> list[float]:
    """The median of each, measured in turns."""
    rounds = [[measure() for measure in measures] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


@torch.no_grad()
def main() -> None:
    keep_freed_memory()
    run = next((argument[4:] for argument in sys.argv[1:] if argument.startswith("run=")), None)
    world = untrained_world(16) if run is None else WorldModel.load(run)
    window, paper = world.window, Sampler(25, 1.0)
    print(f"{'untrained' if run is None else run}, window {window}, {torch.get_num_threads()} threads")
    cached, uncached = medians(
        partial(milliseconds, world, 2 * window, 1, paper), partial(milliseconds, world, 1, 1, paper, False)
    )
    print(f"25 passes: cached {cached:.1f} ms, uncached {uncached:.1f} ms a frame: ratio {uncached / cached:.1f}")
    settings = {"8 passes": Sampler(8, 1.0), "1 pass": Sampler(1, 1.0)}
    if run is not None:
        settings |= {f"adaptive {bound}": Sampler(25, 1.0, entropy_bound=bound) for bound in (0.1, 0.5, 1.0)}
    alone = medians(*(partial(milliseconds, world, 2 * window, 1, sampler) for sampler in settings.values()))
    eight = medians(*(partial(milliseconds, world, 2 * window, 8, sampler) for sampler in settings.values()))
    for name, one, many in zip(settings, alone, eight, strict=True):
        print(
            f"{name}: {one:.1f} ms = {1000 / one:.1f} frames/s, {cached / one:.1f} times cheaper than 25 passes; "
            f"8 worlds {many:.1f} ms = {1000 / many:.1f} frames/s each"
        )
    early, late = at_frames(world, Sampler(2, 1.0), [20, 1000])
    print(f"frame 20: {early:.1f} ms, frame 1,000: {late:.1f} ms: ratio {late / early:.2f}")


if __name__ == "__main__":
    main()
