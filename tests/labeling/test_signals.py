"""Signals say what they are called after."""

import h5py
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from genie.labeling.features import GLANCE, as_features, count_duplicates, measure, perceptual_hash

RANDOM = np.random.default_rng(0)


def noise(frames=8, size=(32, 40)):
    return RANDOM.integers(0, 256, (frames, *size, 3), dtype=np.uint8)


@pytest.fixture
def play(pong_root):
    with h5py.File(pong_root / "train.h5") as file:
        return file["frames"][60:76]


def test_motion_and_stillness(play):
    still = play[:1].repeat(16, 0)
    assert measure(still)["motion"] == 0 and measure(still)["still"] == 1
    assert 0 < measure(play)["motion"] < 0.02 and measure(play)["still"] < 0.2  # a ball is enough
    assert measure(noise())["motion"] > 0.1
    flicker = still + RANDOM.integers(0, 3, still.shape, dtype=np.uint8)  # of compressed video
    assert measure(flicker)["still"] == 1
    half = np.concatenate([play[:1].repeat(9, 0), noise(8, (64, 64))])
    assert measure(half)["still"] == 0.5
    assert measure(play[:1]) == measure(play[:1].repeat(2, 0))


def test_darkness():
    assert measure(np.zeros((4, 16, 16, 3), np.uint8))["darkness"] == 1
    frames = np.full((4, 16, 16, 3), 200, np.uint8)
    assert measure(frames)["darkness"] == 0
    frames[:, :4] = 10
    assert measure(frames)["darkness"] == 0.25


def test_sharpness_falls_with_blur():
    picture = Image.fromarray(noise(1)[0])
    blurred = [np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))[None] for radius in (0, 1, 2, 4)]
    found = [measure(frames)["sharpness"] for frames in blurred]
    assert found == sorted(found, reverse=True) and found[0] > 10 * found[3]


def test_overlays_rest_while_all_else_moves():
    frames = noise(16, (64, 64))
    assert measure(frames)["overlay"] == 0
    text = []
    for frame in frames:
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).rectangle((4, 4, 60, 20), fill=(0, 0, 0))
        ImageDraw.Draw(picture).text((8, 6), "SCORE 100", fill=(255, 255, 255))
        text.append(np.asarray(picture))
    assert 0.02 < measure(np.stack(text))["overlay"] < 0.15


def test_duplicates_are_counted_and_small_differences_are_none():
    one, other = noise(size=GLANCE), noise(size=GLANCE)
    flicker = one // 16 * 16 + RANDOM.integers(0, 16, one.shape, dtype=np.uint8)
    assert count_duplicates([perceptual_hash(frames) for frames in (one, other, flicker, one)]) == [2, 0, 2, 2]


def test_signals_that_span_decades_are_compared_by_ratio():
    rows = [{"motion": value, "still": value} for value in (1e-3, 1e-2, 1e-1)]
    motion, still = np.diff(as_features(rows, ("motion", "still")), axis=0).T
    assert motion[0] == pytest.approx(motion[1], rel=0.01) and still[1] == pytest.approx(10 * still[0])
