"""Cuts between scenes are found, and nothing that happens within one is taken for a cut."""

import h5py
import numpy as np
import pytest

from data_modules.formats.video_index import SIZE, changes, find_cuts, scenes
from data_modules.image_resize import AreaResize

THRESHOLD = 0.15


@pytest.fixture(scope="module")
def shots(pong_root):
    """Scenes of 64x64 frames, each hard in its own way: their names and frames."""
    rng = np.random.default_rng(0)
    with h5py.File(pong_root / "train.h5") as file:
        pong = file["frames"][10:90]
    level = rng.integers(0, 256, (16, 32, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    flash = pong[:30].copy()
    flash[15] = 255
    return {
        "a game": pong,
        "noise": rng.integers(0, 256, (30, 64, 64, 3), dtype=np.uint8),
        "a game that begins to scroll fast": np.stack(
            [np.roll(level, 9 * max(0, i - 20), axis=1)[:64, :64] for i in range(50)]
        ),
        "a flash": flash,
        "a fall": np.stack([np.roll(level, 7 * i, axis=0)[20:84, 100:164] for i in range(40)]),
        "a picture": np.repeat(pong[50:51], 20, axis=0),
        "every frame twice": np.stack([np.roll(level, 16 * (i // 2), axis=1)[64:, :64] for i in range(40)]),
        "a dark game": (pong[20:60] * 0.3).astype(np.uint8),
    }


def found(frames):
    small = AreaResize(frames.shape[1:3], (SIZE, SIZE))(frames)
    return find_cuts(changes(enumerate(small), len(frames)), THRESHOLD).tolist()


def test_every_cut_between_scenes_and_none_inside(shots):
    joined = np.concatenate(list(shots.values()))
    assert found(joined) == np.cumsum([len(frames) for frames in shots.values()])[:-1].tolist()


def test_scenes_that_differ_in_movement_alone_are_one(shots):
    assert found(np.concatenate([shots["a game"][:40], shots["a game"][10:50]])) == []


def test_frames_that_are_missing_are_no_cut(shots):
    frames = AreaResize((64, 64), (SIZE, SIZE))(shots["a game"])
    seen = [(number, frame) for number, frame in enumerate(frames) if not 20 <= number < 25]
    assert find_cuts(changes(seen, len(frames)), THRESHOLD).tolist() == []


def test_scenes_lie_between_cuts_and_none_is_empty():
    assert scenes(np.array([4, 7, 7]), 9).tolist() == [[0, 4], [4, 7], [7, 9]]
    assert scenes(np.array([0, 9, 12]), 9).tolist() == [[0, 9]]  # rows before the first and behind the last
    assert scenes(np.array([], dtype=np.int64), 9).tolist() == [[0, 9]]
