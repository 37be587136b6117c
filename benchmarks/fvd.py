"""What FVD sees, and what it costs: `python -m benchmarks.fvd` prints the tables of docs/fvd.md.

On real clips of a data set: seconds per clip in I3D; FVD and KVD of clips that were spoilt in known ways, against other
real clips and against the same clips as they were; and whether statistics of two processes add up to those of one.

    --data data/pong_64x64 --videos 32 --frames 16 --resize bilinear|legacy

Every video goes through I3D once for each row of the table. `--golden` repeats one published value instead.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, multiprocessing
from torch.nn import functional as F

from data_modules.clip_data_module import ClipDataModule
from genie.common.device import keep_freed_memory
from genie.metrics.fvd import FrechetVideoDistance, frechet_distance, kernel_distance
from genie.metrics.video_features import VideoFeatures

# By the TensorFlow code of the original, for the videos that `golden` makes (universome/fvd-comparison).
GOLDEN = 10.138085
SEED = 0
PROGRESS_SECONDS = 5.0  # between two lines that say how far it is


def real_clips(root: str, count: int, num_frames: int) -> Tensor:
    """uint8 [count, T, C, H, W], evenly spaced over the training episodes in their order."""
    data = ClipDataModule(root, (64, 64), num_frames, batch_size=1)
    data.setup()
    dataset = data.datasets["train"]
    return torch.stack([dataset[i * len(dataset) // count]["frames"] for i in range(count)])


def noise(level: float) -> Callable[[Tensor], Tensor]:
    """Normal noise with a standard deviation of `level` of 255."""
    return lambda clips: (clips + level / 255 * torch.randn(clips.shape)).clamp(0, 1)


def blur(size: int) -> Callable[[Tensor], Tensor]:
    """The mean over squares of `size` pixels."""
    edge = size // 2

    def apply(clips: Tensor) -> Tensor:
        frames = F.pad(clips.flatten(0, 1), (edge,) * 4, mode="replicate")
        return F.avg_pool2d(frames, size, 1).view_as(clips)

    return apply


def shuffle(window: int) -> Callable[[Tensor], Tensor]:
    """Frames in random order within windows of so many, in another order for every clip."""

    def order(length: int) -> Tensor:
        parts = torch.arange(length).split(window)
        return torch.cat([part[torch.randperm(len(part))] for part in parts])

    return lambda clips: torch.stack([clip[order(len(clip))] for clip in clips])


CONDITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "clean": lambda clips: clips,
    **{f"noise, sd {level} of 255": noise(level) for level in (4, 12, 36)},
    **{f"blur, {size} px": blur(size) for size in (3, 5, 9)},
    **{f"frames shuffled in windows of {window}": shuffle(window) for window in (2, 4, 16)},
    "reversed in time": lambda clips: clips.flip(1),
    "first frame frozen": lambda clips: clips[:, :1].expand_as(clips),
}


def speed(features: VideoFeatures, clips: Tensor) -> None:
    """Prints seconds per clip, of some batches as they are made."""
    size = features.batch_size
    features(clips[:1])
    wall, work = [], []
    for batch in clips[: 4 * size].split(size):
        started, worked = time.perf_counter(), time.process_time()
        features(batch)
        wall.append((time.perf_counter() - started) / len(batch))
        work.append((time.process_time() - worked) / len(batch))
    threads = torch.get_num_threads()
    print(
        f"I3D, clips of {clips.shape[1]} frames, batches of {size}, threads: {threads}: "
        f"{statistics.median(wall):.2f} s a clip, {statistics.median(work):.2f} s of CPU time"
    )


def sanity(features: VideoFeatures, real: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Prints the table; returns the features of both sets as they are."""
    torch.manual_seed(SEED)
    expected, clean = features(real), features(others)
    print(f"\n{len(others)} clips against {len(real)} others, {features.name}")
    print("| clips | FVD | KVD | FVD against the same clips, clean |")
    print("|---|---|---|---|")
    for name, spoil in CONDITIONS.items():
        made = clean if name == "clean" else features(spoil(others.float() / 255))
        figures = [frechet_distance(expected, made), kernel_distance(expected, made), frechet_distance(clean, made)]
        print(f"| {name} | {figures[0]:.1f} | {figures[1]:.2f} | {figures[2]:.1f} |", flush=True)
    return expected, clean


def one_of_two(rank: int, settings: dict, sides: tuple[Tensor, Tensor], address: str, answers) -> None:
    """A process that saw a share of the features: five of eight on the first, three on the second."""
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=2)
    metric = FrechetVideoDistance(**settings)
    for side, real in zip(sides, (True, False), strict=True):
        share = 5 * len(side) // 8
        metric.update(side[:share] if rank == 0 else side[share:], real=real)
    answers.put((metric.compute().item(), metric.name))
    torch.distributed.destroy_process_group()


def merged(features: VideoFeatures, sides: tuple[Tensor, Tensor], port: int) -> None:
    """Prints FVD by one process and by two."""
    metric = FrechetVideoDistance(features)
    for side, real in zip(sides, (True, False), strict=True):
        metric.update(side, real=real)
    alone = metric.compute().item()
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    settings = {"num_frames": features.num_frames, "resize": features.resize}
    arguments = (settings, sides, f"tcp://127.0.0.1:{port}", answers)
    multiprocessing.start_processes(one_of_two, arguments, nprocs=2)
    together, name = answers.get()
    print(f"\n{name}: {alone:.9f} by one process, {together:.9f} by two, {abs(alone - together):.1e} apart")


def golden(features: VideoFeatures) -> None:
    """Prints FVD of 128 against 128 clips of uniform noise, which go into I3D as they are drawn, in [0, 1]."""
    sides, batches = [], 32
    for number, seed in enumerate((1, 2)):
        state, outputs, said = np.random.RandomState(seed), [], 0.0
        for batch in range(batches):
            clips = torch.from_numpy(state.rand(4, 16, 224, 224, 3)).float()
            with torch.no_grad():
                outputs.append(features.network(clips.permute(0, 4, 1, 2, 3)))
            if time.monotonic() - said > PROGRESS_SECONDS or batch == batches - 1:
                said = time.monotonic()
                print(f"set {number + 1} of 2: {4 * (batch + 1)} of {4 * batches} clips", file=sys.stderr, flush=True)
        sides.append(torch.cat(outputs))
    value = frechet_distance(*sides).item()
    print(f"uniform noise, 128 against 128: FVD {value:.6f}, published {GOLDEN}, {abs(value - GOLDEN):.1e} apart")


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/pong_64x64")
    parser.add_argument("--videos", type=int, default=32, help="on each side of the table")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--resize", default="bilinear")
    parser.add_argument("--port", type=int, default=29513, help="on which the two processes meet")
    parser.add_argument("--golden", action="store_true")
    given = parser.parse_args()
    print("loading I3D", file=sys.stderr, flush=True)
    features = VideoFeatures(num_frames=given.frames, resize=given.resize)
    if given.golden:
        golden(features)
        return
    clips = real_clips(given.data, 2 * given.videos, given.frames)
    speed(features, clips)
    sides = sanity(features, *clips.split(given.videos))
    merged(features, sides, given.port)


if __name__ == "__main__":
    main()
