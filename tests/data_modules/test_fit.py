"""How pictures of another shape become frames, and that the objects in them go along."""

from typing import get_args

import numpy as np
import pytest

from data_modules.formats.episode_reader import EpisodeReader
from data_modules.image_resize import AreaResize, Fit
from genie.common.settings import data

FITS = get_args(data.Fit)


def square(height, width, top, left, size):
    """A black picture with a white square, [1, H, W, 3], and the square's centre (x, y)."""
    frame = np.zeros((1, height, width, 3), np.uint8)
    frame[:, top : top + size, left : left + size] = 255
    return frame, np.array([[left + (size - 1) / 2, top + (size - 1) / 2]], np.float32)


def centre(frame):
    """(x, y) of the middle of what is bright, weighted by how bright."""
    light = frame[0, ..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize(("source", "target"), [((40, 80), (20, 20)), ((90, 30), (32, 48)), ((24, 24), (48, 60))])
def test_objects_are_where_the_picture_shows_them(how, source, target):
    fit = Fit(source, target, how)
    frame, point = square(*source, top=source[0] // 2 - 5, left=source[1] // 2 - 3, size=8)
    shown = fit(frame)
    assert shown.shape == (1, *target, 3)
    if how == "pad_edge":  # its borders are black here as well
        np.testing.assert_array_equal(shown, Fit(source, target, "pad")(frame))
    np.testing.assert_allclose(fit.points(point)[0], centre(shown), atol=0.05)


@pytest.mark.parametrize(("source", "target"), [((40, 80), (20, 20)), ((90, 30), (32, 48)), ((24, 24), (48, 60))])
def test_only_squeezing_changes_shapes(source, target):
    frame, _ = square(*source, top=source[0] // 2 - 4, left=source[1] // 2 - 4, size=8)
    for how in FITS:
        light = Fit(source, target, how)(frame)[0, ..., 0] / 255
        ratio = light.sum(0).max() / light.sum(1).max()  # height to width of what was a square
        shape = target[0] * source[1] / (target[1] * source[0])
        assert ratio == pytest.approx(shape if how == "squeeze" else 1, rel=0.08), how


def test_borders_are_black_or_of_the_outermost_pixels_and_a_crop_has_none():
    frame = np.full((2, 10, 40, 3), 90, np.uint8)
    frame[:, :, -10:] = 200
    assert (Fit((10, 40), (20, 20), "squeeze")(frame) >= 90).all()
    padded = Fit((10, 40), (20, 20), "pad")(frame)
    assert (padded[:, :7] == 0).all() and (padded[:, 12:] == 0).all() and (padded[:, 7:12, :15] == 90).all()
    edged = Fit((10, 40), (20, 20), "pad_edge")(frame)
    assert (edged[:, :, :15] == 90).all() and (edged[:, :, 15:] == 200).all()
    np.testing.assert_array_equal(padded[:, 7:12], edged[:, 7:12])
    assert (Fit((10, 40), (20, 20), "crop")(frame) == 90).all()  # the bright quarter at the right is outside


def test_what_is_cropped_away_is_absent():
    fit = Fit((10, 40), (20, 20), "crop")
    points = fit.points(np.array([[2, 5], [20, 5], [38, 5], [np.nan, np.nan]], np.float32))
    assert np.isnan(points).all(1).tolist() == [True, False, True, True]


def test_squeezing_is_the_area_resize():
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Fit((30, 17), (8, 9), "squeeze")(frames), AreaResize((30, 17), (8, 9))(frames))


def test_episode_files_are_fitted_too(tmp_path, write_episodes):
    path = write_episodes(tmp_path / "wide.h5", [6], image_size=(8, 16))
    reader = EpisodeReader(path, (8, 8), fit="pad")
    frames, points = reader.frames(0, 6), reader.column("objects", 0, 6)
    assert (frames[3:, :2] == 0).all() and (frames[3, 2:6, :, 1] == 3).all() and (frames[3:, 6:] == 0).all()
    np.testing.assert_allclose(points[4, 0], [(0 + 0.5) / 2 - 0.5, (4 + 0.5) / 2 - 0.5 + 2])
