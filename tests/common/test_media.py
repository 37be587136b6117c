"""Videos and pictures on disk hold what was put in."""

import numpy as np
import pytest
import torch
from PIL import Image

from genie.common.media import (
    CONTEXT_COLOR,
    PREDICTED_COLOR,
    border_by_origin,
    enlarge,
    grid,
    scale_to,
    to_bytes,
    write_frames,
    write_mp4,
    write_png,
)


def ramp(count, height=32, width=48):
    """Grey frames, each brighter than the one before."""
    levels = np.linspace(20, 230, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def test_a_video_holds_its_frames_in_order_at_its_rate(tmp_path, read_video):
    video = ramp(20)
    path = write_mp4(tmp_path / "new" / "video.mp4", iter(video), fps=7.5)
    frames, rate = read_video(path)
    assert frames.shape == video.shape and rate == 7.5
    assert np.abs(frames.astype(int) - video.astype(int)).max() <= 6


def test_odd_sizes_get_an_edge(tmp_path, read_video):
    video = np.zeros((3, 31, 45, 3), dtype=np.uint8)
    video[..., -1, :] = 200
    frames, _ = read_video(write_mp4(tmp_path / "odd.mp4", video, fps=10))
    assert frames.shape == (3, 32, 46, 3)
    assert frames[:, 10, -2:].min() > 150 and frames[:, 10, :-4].max() < 60


def test_a_video_that_fails_leaves_the_former_one(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", ramp(4), fps=10)
    before = path.read_bytes()

    def broken():
        yield ramp(1)[0]
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        write_mp4(path, broken(), fps=10)
    with pytest.raises(ValueError, match="at least one frame"):
        write_mp4(path, [], fps=10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_folders_of_frames_hold_no_frames_of_a_longer_video(tmp_path):
    (tmp_path / "frame_notes.png").write_bytes(b"mine")
    write_frames(tmp_path, ramp(5))
    write_frames(tmp_path, ramp(3))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["frame_0000.png", "frame_0001.png", "frame_0002.png", "frame_notes.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frame_0002.png")), ramp(3)[2])


def test_pictures_are_kept_exactly(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(write_png(tmp_path / "a.png", picture))), picture)


def test_floats_become_the_nearest_byte():
    frames = torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.5])[:, None, None, None].expand(6, 3, 1, 1)
    assert to_bytes(frames)[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 255, 255]
    stored = torch.arange(256, dtype=torch.uint8)[:, None, None, None]
    assert np.array_equal(to_bytes(stored.float() / 255), to_bytes(stored))  # and one channel becomes three
    assert to_bytes(stored).shape == (256, 1, 1, 3)


def test_pixels_become_squares():
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    large = enlarge(picture, 4)
    assert large.shape == (8, 12, 3)
    assert np.array_equal(large[::4, ::4], picture) and np.array_equal(large[3::4, 3::4], picture)
    assert [scale_to(height, 256) for height in (64, 90, 256, 300)] == [4, 3, 1, 1]


def test_given_and_generated_frames_have_different_borders():
    video = border_by_origin(ramp(5, 4, 4), num_context=2, width=1)
    assert video.shape == (5, 6, 6, 3)
    assert [tuple(frame[0, 0]) for frame in video] == [CONTEXT_COLOR] * 2 + [PREDICTED_COLOR] * 3
    assert np.array_equal(video[:, 1:-1, 1:-1], ramp(5, 4, 4))


def test_a_grid_shows_every_cell_whole_and_in_its_place():
    colors = {(y, x): (200, 40 * x, 100 * y) for y in range(2) for x in range(3)}  # never grey, as the labels are
    cells = [[np.full((2, 20, 30, 3), colors[y, x], np.uint8) for x in range(3)] for y in range(2)]
    plain, labelled = grid(cells), grid(cells, ["a", "a longer label"], ["x", "y", "z"])
    corners = {}
    for place, color in colors.items():
        for video in (plain, labelled):
            rows, columns = np.nonzero((video[1] == color).all(-1))
            assert len(rows) == 20 * 30  # all of the cell, and nowhere else
            assert rows.max() - rows.min() == 19 and columns.max() - columns.min() == 29
        corners[place] = (rows.min(), columns.min())
    assert [y for y, _ in sorted(corners, key=lambda place: corners[place])] == [0, 0, 0, 1, 1, 1]
    assert [x for _, x in sorted(corners, key=lambda place: corners[place][::-1])] == [0, 0, 1, 1, 2, 2]
    assert labelled.shape[1] > plain.shape[1] and labelled.shape[2] > plain.shape[2]
