"""How fast clips are read, and with how much memory: `python -m benchmarks.data_loading`

One line for each combination of workers and in_memory: clips per second over `batches` batches of the training
loader, and the peak resident memory of the process and of its largest worker; without workers the processor's time,
which does not depend on what else runs. Each runs in a process of its own.
Then the same frames as videos (H.264 at 30 frames a second, `video_size` pixels high and wide, a key frame every 250
frames), resampled to 10 a second, with each decoder.

    root=data/pong_64x64 num_frames=16 batch_size=16 batches=150 height=64 width=64 video_size=256
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from benchmarks.arguments import arguments, started
from genie.common.settings.kinds import Count, Place, Settings, Side


class Arguments(Settings):
    root: Place = "data/pong_64x64"
    num_frames: Count = 16
    batch_size: Count = 16
    batches: Count = 150
    height: Side = 64
    width: Side = 64
    video_size: Side = 256


VIDEOS, VIDEO_FRAMES, VIDEO_FPS = 8, 300, 30


def measure(root: str, num_workers: int, variant: dict, settings: Arguments) -> None:
    """variant: what else `ClipDataModule` is given."""
    from data_modules.clip_data_module import ClipDataModule

    before = peak_mb(resource.RUSAGE_SELF)
    data = ClipDataModule(
        root,
        (settings.height, settings.width),
        num_frames=settings.num_frames,
        batch_size=settings.batch_size,
        num_workers=num_workers,
        fps=10,
        **variant,
    )
    data.setup()
    batches = endless(data)
    for _ in islice(batches, 10):
        pass
    start, worked = time.perf_counter(), time.process_time()
    count = sum(len(batch["seed"]) for batch in islice(batches, settings.batches))
    speed, work = count / (time.perf_counter() - start), (time.process_time() - worked) / count
    own = peak_mb(resource.RUSAGE_SELF)
    del batches  # ends the workers: only then their memory is known
    worker = peak_mb(resource.RUSAGE_CHILDREN)
    shown = variant.get("videos", {}).get("decoder") or f"in_memory={str(variant['in_memory']).lower()}"
    print(
        f"num_workers={num_workers} {shown:15}  {speed:6.0f} clips/s  {own:5.0f} MB "
        f"(after imports {before:.0f}), "
        + (f"a worker {worker:.0f} MB" if num_workers else f"{1000 * work:.1f} ms of CPU a clip"),
        flush=True,
    )


def endless(data):
    """The training batches of one epoch after the other."""
    loader = data.train_dataloader()
    while True:
        yield from loader


def peak_mb(who: int) -> float:
    """Peak resident memory in MB; Linux counts in KiB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


def write_videos(root: str, folder: Path, size: int) -> None:
    """The first frames of the training split as videos."""
    from data_modules.frame_reader import Reading
    from data_modules.image_resize import Fit
    from data_modules.sources import EpisodeFiles, open_splits
    from genie.common.media import write_mp4

    source = EpisodeFiles(Reading((64, 64), "squeeze", None, in_memory=False, on_error="raise"))
    reader, _ = open_splits(source, Path(root), 0.1, 0, "")["train"]
    enlarge = Fit(reader.image_size, (size, size), "squeeze")
    for number in range(VIDEOS):
        frames = reader.frames(number * VIDEO_FRAMES, (number + 1) * VIDEO_FRAMES)
        write_mp4(folder / f"{number}.mp4", (enlarge(frame[None])[0] for frame in frames), VIDEO_FPS)


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        root, num_workers, variant, settings = json.loads(sys.argv[2])
        measure(root, num_workers, variant, Arguments(**settings))
        return
    given, _ = arguments(Arguments)
    print(", ".join(f"{key}={value}" for key, value in given.model_dump().items()), flush=True)
    for num_workers in (0, 2):
        for in_memory in (False, True):
            start(given.root, num_workers, {"in_memory": in_memory}, given)
    with tempfile.TemporaryDirectory() as folder:
        write_videos(given.root, Path(folder), given.video_size)
        for num_workers in (0, 2):
            for decoder in ("pyav", "decord"):
                videos = {"decoder": decoder, "cuts": "none", "cut_threshold": 0.5}
                start(folder, num_workers, {"source": "videos", "videos": videos}, given)


def start(root: str, num_workers: int, variant: dict, settings: Arguments) -> None:
    """`measure` in a process of its own."""
    described = json.dumps([root, num_workers, variant, settings.model_dump()])
    run = subprocess.run([sys.executable, "-m", "benchmarks.data_loading", "measure", described])
    if run.returncode:
        sys.exit(run.returncode)  # it has said why


if __name__ == "__main__":
    started(main)
