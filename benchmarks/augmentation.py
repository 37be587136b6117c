"""What augmentation costs: `python -m benchmarks.augmentation` prints milliseconds of the CPU for a clip.

Clips of 16 frames of 64x64; each change alone, all together, and reading, for comparison.

    root=data/pong_64x64 clips=300
"""

import time

import torch

from benchmarks.arguments import arguments, started
from data_modules.augmentation import Augmentation
from data_modules.clip_data_module import ClipDataModule
from genie.common.settings.kinds import Count, Place, Settings


class Arguments(Settings):
    root: Place = "data/pong_64x64"
    clips: Count = 300


COLOURS = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.2)
CHOICES = {
    "crop": {"crop": 0.2},
    "shift": {"shift": 0.1},
    "flip": {"flip": "vertical"},
    "colours": COLOURS,
    "all": {"crop": 0.2, "shift": 0.1, "flip": "vertical"} | COLOURS,
}


def main() -> None:
    given, _ = arguments(Arguments)
    count = given.clips
    torch.set_num_threads(1)
    data = ClipDataModule(given.root, (64, 64), num_frames=16, batch_size=16)
    data.setup()
    clips = [data.train_dataset[0, 0] for _ in range(10)]
    started = time.process_time()
    clips = [data.train_dataset[0, (index * 97) % len(data.train_dataset)] for index in range(count)]
    print(f"reading  {(time.process_time() - started) / count * 1e3:.2f} ms")
    for name, settings in CHOICES.items():
        augmentation = Augmentation(settings)
        started = time.process_time()
        for clip in clips:
            augmentation(clip)
        print(f"{name:8} {(time.process_time() - started) / count * 1e3:.2f} ms")


if __name__ == "__main__":
    started(main)
