"""Writes the data sets in this folder with the library LeRobot itself: what is in them, and how they can be made again.

LeRobot does not install beside the torch that the tests use, so they read what it once wrote:

    v3.0.tar.xz          lerobot 0.4.4   python write.py v3.0            two files of each camera
    v3.0_images.tar.xz   lerobot 0.4.4   python write.py v3.0_images     pictures in the rows
    v2.1.tar.xz          lerobot 0.3.3   python write.py v2.1            a file of each episode

Six episodes of `LENGTHS` frames; the row, counted through, is the number that the camera `front` shows (`number_frames`
of the tests), and in the colours turned round `wrist`. In step t of the episode e of row r the state is [r, t, -t], the
action [10 e, t, 90 - 2 t], the reward t.
"""

import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LENGTHS = [12, 9, 15, 11, 10, 14]
TASKS = ["push the cube", "lift the cube"]
NAMES = ["pan", "lift", "grip"]


def number_frames(numbers, size):
    bits = numbers[:, None] >> np.arange(8) & 1
    bars = np.repeat(bits, size[1] // 8, axis=1)
    return np.broadcast_to(255 * bars[:, None, :, None], (len(numbers), *size, 3)).astype(np.uint8)


def main(name):
    root, old = Path(name), name == "v2.1"
    shutil.rmtree(root, ignore_errors=True)
    camera = {"dtype": "image" if name.endswith("images") else "video", "names": ["height", "width", "channels"]}
    features = {
        "observation.images.front": camera | {"shape": (48, 64, 3)},
        "observation.images.wrist": camera | {"shape": (32, 32, 3)},
        "observation.state": {"dtype": "float32", "shape": (3,), "names": NAMES},
        "action": {"dtype": "float32", "shape": (3,), "names": NAMES},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    }
    data = LeRobotDataset.create("tests/tiny", 30, features, root=root, use_videos=camera["dtype"] == "video")
    if not old:
        data.meta.info.update(video_files_size_in_mb=0.006)
    row = 0
    for episode, length in enumerate(LENGTHS):
        numbers = row + np.arange(length)
        front, wrist = number_frames(numbers, (48, 64)), 255 - number_frames(numbers, (32, 32))
        for t in range(length):
            frame = {
                "observation.images.front": front[t],
                "observation.images.wrist": wrist[t],
                "observation.state": np.array([row + t, t, -t], np.float32),
                "action": np.array([10 * episode, t, 90 - 2 * t], np.float32),
                "next.reward": np.array([t], np.float32),
                "next.done": np.array([t == length - 1]),
            }
            task = TASKS[episode % 2]
            if old:
                data.add_frame(frame, task=task)
            else:
                data.add_frame(frame | {"task": task})
        data.save_episode()
        row += length
    if not old:
        data.finalize()
    with tarfile.open(f"{name}.tar.xz", "w:xz") as archive:
        archive.add(root, name)


if __name__ == "__main__":
    main(sys.argv[1])
