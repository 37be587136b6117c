"""What augmentation costs: python -m benchmarks.augmentation [root] prints milliseconds of the CPU for a clip.

Clips of 16 frames of 64x64, 300 of them; each change alone, all together, and reading, for comparison.
"""

import sys
import time

import torch

from data_modules.augmentation import Augmentation
from data_modules.clip_data_module import ClipDataModule

COLOURS = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.2)
CHOICES = {
    "crop": {"crop": 0.2},
    "shift": {"shift": 0.1},
    "flip": {"flip": "vertical"},
    "colours": COLOURS,
    "all": {"crop": 0.2, "shift": 0.1, "flip": "vertical"} | COLOURS,
}


def main(root: str = "data/pong_64x64", count: int = 300) -> None:
    torch.set_num_threads(1)
    data = ClipDataModule(root, (64, 64), num_frames=16, batch_size=16)
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
    main(*sys.argv[1:2])
