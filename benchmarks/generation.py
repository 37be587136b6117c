"""What a generated frame costs: `python -m benchmarks.generation` prints milliseconds and their ratios.

    model=pong window=16 passes=25     an untrained world of that preset
    run=outputs/pong                   a trained one with its own window, from prompts of its test data: the passes of
                                       the adaptive sampler depend on how sure the model is
    only=cache                         the first figures alone
    only=batches                       worlds in one batch: 1, 8 and 64, with the world's own sampler; and what a pass
                                       takes beside its matrix products at the speed that torch.mm reaches
    only=video frames=100,1000,10000   one long video, written as it is made: time of a frame, memory and the size of
                                       the file after so many frames

Every figure is the median over repeats of a number of frames that is a multiple of the window, so that each has
its share of windows begun anew. What is compared takes turns, so that another program's load hits both.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arguments import arguments, configuration, started
from data_modules.held_out_clips import load_clips
from genie.common.device import keep_freed_memory
from genie.common.media import to_bytes, write_mp4
from genie.common.profiling import peak_rss_mb
from genie.common.settings.kinds import Count, Place, Settings, Several, Some
from genie.models.initialization import initialize
from genie.stages import new_stage
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel


class Arguments(Settings):
    model: str = "pong"
    window: Several = 16
    passes: Count = 25
    run: Place | None = None
    only: Literal["cache", "batches", "video"] | None = None
    frames: Some[Count] = [100, 1000, 10_000]


REPEATS, PLAYERS = 3, 8
LONG = 12  # windows at the beginning and the end of a long video


def untrained_world(model: str, window: int) -> WorldModel:
    """The models of a preset as they are before training."""
    stages = [
        new_stage(configuration("train", [f"stage={name}", f"model={model}"])) for name in ("tokenizer", "dynamics")
    ]
    for stage in stages:
        initialize(stage.model, 0)
    return WorldModel(stages[0].model.eval(), stages[1].model.eval(), window=window)


class Bench:
    """A world, prompt frames [8, T0, C, H, W] for it, and random actions."""

    def __init__(self, world: WorldModel, prompts: Tensor) -> None:
        self.world, self.prompts = world, prompts
        self.generator = torch.Generator().manual_seed(0)

    def step(self, state: WorldState) -> WorldState:
        actions = torch.randint(self.world.num_actions, (len(state),), generator=self.generator)
        return self.world.step(state, actions)[0]

    def milliseconds(self, sampler: Sampler, players: int = 1) -> float:
        """Per frame of each of so many worlds in one batch, over two windows."""
        self.world.sampler, self.world.cached = sampler, True
        state = self.step(self.world.reset(self.prompts[:players]))
        frames = 2 * self.world.window
        started = time.perf_counter()
        for _ in range(frames):
            state = self.step(state)
        return 1000 * (time.perf_counter() - started) / frames

    def uncached(self, sampler: Sampler, players: int = 1) -> float:
        """Of one frame of each of so many worlds whose windows are full."""
        self.world.sampler, self.world.cached = sampler, False
        state = self.world.reset(self.prompts[:players])
        while state.lengths[0] < self.world.window - 1:  # a full window, without the time to make it
            state = state.appended(state.tokens[:, -1], torch.zeros(players, dtype=torch.int64))
        started = time.perf_counter()
        self.step(state)
        return 1000 * (time.perf_counter() - started)

    def late(self, sampler: Sampler, around: tuple[int, ...]) -> list[float]:
        """Per frame of one long video, around each of these frames: the median over windows of their means."""
        self.world.sampler, self.world.cached = sampler, True
        state, times = self.world.reset(self.prompts[:1]), []
        window = self.world.window
        for _ in range(max(around) + LONG * window):
            started = time.perf_counter()
            state = self.step(state)
            times.append(1000 * (time.perf_counter() - started))
        starts = ([first + n * window for n in range(LONG)] for first in around)
        return [statistics.median(statistics.mean(times[at : at + window]) for at in group) for group in starts]

    def long_video(self, marks: list[int]) -> None:
        """Prints a line at each number of frames of one video, which is written while it is generated."""
        state = self.world.reset(self.prompts[:1])

        def frames(folder: Path) -> Iterator[np.ndarray]:
            nonlocal state
            since, last = time.perf_counter(), 0
            for number in range(1, max(marks) + 1):
                actions = torch.randint(self.world.num_actions, (1,), generator=self.generator)
                state, step = self.world.step(state, actions)
                yield to_bytes(step.observation[0])
                if number in marks:
                    now = time.perf_counter()
                    written = sum(path.stat().st_size for path in folder.iterdir())
                    print(
                        f"frames {last + 1} to {number}: {1000 * (now - since) / (number - last):.1f} ms each, "
                        f"peak memory {peak_rss_mb():.0f} MB, {written / 2**20:.1f} MB on disk", flush=True,
                    )  # fmt: skip
                    since, last = now, number

        with tempfile.TemporaryDirectory() as folder:
            write_mp4(Path(folder) / "video.mp4", frames(Path(folder)), self.world.fps)

    def batches(self, players: tuple[int, ...]) -> None:
        """Prints what a frame costs with so many worlds in one batch; of one world beside its matrix products."""
        sampler, clips = self.world.sampler, self.prompts
        self.prompts = clips.repeat(-(-max(players) // len(clips)), 1, 1, 1, 1)
        times = medians(*(partial(self.milliseconds, sampler, count) for count in players))
        for count, one in zip(players, times, strict=True):
            print(f"{count} worlds: {one:.1f} ms a frame of all, {1000 * count / one:.0f} frames/s")
        once = Sampler(1, 0.0)
        with FlopCounterMode(display=False) as counter:
            self.milliseconds(once)
        milliseconds, fastest = medians(partial(self.milliseconds, once), partial(products_peak, 1024))
        products = 1000 * counter.get_total_flops() / (2 * self.world.window) / fastest
        print(
            f"a frame in one pass: {milliseconds:.1f} ms, its matrix products at the peak of {fastest / 1e9:.0f} "
            f"GFLOP/s {products:.1f} ms: ratio {milliseconds / products:.2f}"
        )


def products_peak(size: int) -> float:
    """Operations a second of a product of two matrices."""
    left, right = torch.randn(2, size, size)
    started = time.perf_counter()
    for _ in range(4):
        left @ right
    return 4 * 2 * size**3 / (time.perf_counter() - started)


def medians(*measures: Callable[[], float]) -> list[float]:
    """The median of each, measured in turns."""
    rounds = [[measure() for measure in measures] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


@torch.no_grad()
def main() -> None:
    keep_freed_memory()
    given, _ = arguments(Arguments)
    run, passes = given.run, given.passes
    if run is None:
        world = untrained_world(given.model, given.window)
        bench = Bench(world, torch.rand(PLAYERS, 1, 3, *world.image_size))
    else:
        world = WorldModel.load(run)
        bench = Bench(world, load_clips(world.config["data"], None, "test", PLAYERS, 4, PLAYERS).floats())
    print(f"{run or given.model}, window {world.window}, {torch.get_num_threads()} threads")
    if given.only == "video":
        bench.long_video(given.frames)
        return
    if given.only == "batches":
        bench.batches((1, 8, 64))
        return
    plain = Sampler(passes, 1.0)
    ways = (bench.milliseconds, bench.uncached)
    times = medians(*(partial(way, plain, players) for players in (1, PLAYERS) for way in ways))
    for players, cached, uncached in ((PLAYERS, *times[2:]), (1, *times[:2])):
        print(
            f"{passes} passes, {players} worlds: cached {cached:.1f} ms, uncached {uncached:.1f} ms: "
            f"ratio {uncached / cached:.1f}"
        )
    if given.only == "cache":
        return
    samplers = {f"{count} passes": Sampler(count, 0.5) for count in (8, 2)}
    if run is not None:
        samplers |= {f"adaptive {bound} nats": Sampler(25, 0.5, entropy_bound=bound) for bound in (1.0, 1.5, 2.0)}
    measures = [
        partial(bench.milliseconds, sampler, players) for sampler in samplers.values() for players in (1, PLAYERS)
    ]
    times = medians(*measures)
    for name, one, many in zip(samplers, times[::2], times[1::2], strict=True):
        print(
            f"{name}: {one:.1f} ms a frame = {1000 / one:.1f} frames/s, {cached / one:.1f} times cheaper than "
            f"{passes} passes; {PLAYERS} worlds at {1000 / many:.1f} frames/s each"
        )
    early, late = bench.late(Sampler(2, 0.5), (20, 1000))
    print(f"frame 20: {early:.1f} ms, frame 1,000: {late:.1f} ms: ratio {late / early:.2f}")


if __name__ == "__main__":
    started(main)
