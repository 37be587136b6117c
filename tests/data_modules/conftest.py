"""Hand-made episode files in which every row says where it is from."""

import h5py
import numpy as np
import pytest


@pytest.fixture
def write_episodes():
    """write_episodes(path, lengths, image_size=(8, 8), only_frames=False, fps=15.0, first=0): returns the path.

    Rows are counted from `first`. A frame shows its episode in channel 0 and its row in channel 1 (modulo 256); actions
    and rewards are the row, the last decision of each episode is terminal, the object sits at (episode, row).
    """

    def write(path, lengths, image_size=(8, 8), only_frames=False, fps=15.0, first=0):
        episode = np.repeat(np.arange(len(lengths)), lengths)
        row = first + np.arange(len(episode))
        frames = np.zeros((len(row), *image_size, 3), np.uint8)
        frames[..., 0] = episode[:, None, None]
        frames[..., 1] = (row % 256)[:, None, None]
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("frames", data=frames, chunks=(min(16, len(row)), *image_size, 3))
            if only_frames:
                return path
            ends = np.cumsum(lengths)
            terminals = np.zeros(len(row), bool)
            terminals[ends - 2] = True
            file["actions"] = row
            file["rewards"] = row.astype(np.float32)
            file["terminals"] = terminals
            file["objects"] = np.stack([episode, row], 1).astype(np.float32)[:, None]
            file["episode_ends"] = ends
            file.attrs["fps"] = fps
            file.attrs["object_names"] = ["thing"]
        return path

    return write
