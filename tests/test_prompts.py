"""Any picture or video becomes a prompt of the model's size, or one line says why not."""

import warnings

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from genie.errors import UserError
from genie.media import write_mp4
from genie.prompts import data_prompt, read_prompt


def read(path, size=(16, 16), num_frames=1, fps=10.0):
    return read_prompt(path, size, num_frames, fps)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def as_bytes(frames):
    return (frames * 255).round().byte().permute(0, 2, 3, 1).numpy()


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path, picture):
    frames = read(save(tmp_path / "a.png", picture))
    assert frames.shape == (1, 3, 16, 16) and frames.dtype == torch.float32
    assert np.array_equal(as_bytes(frames)[0], picture)


def test_a_larger_one_is_averaged_over_areas(tmp_path, picture):
    large = picture.repeat(3, axis=0).repeat(5, axis=1)
    assert np.array_equal(as_bytes(read(save(tmp_path / "a.png", large)))[0], picture)
    checkers = np.zeros((32, 32, 3), dtype=np.uint8)
    checkers[::2, ::2] = checkers[1::2, 1::2] = 200
    assert (as_bytes(read(save(tmp_path / "b.png", checkers))) == 100).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (17, 15), (16, 200)])
def test_any_size_fits(tmp_path, size):
    frames = read(save(tmp_path / "a.png", np.full((*size, 3), 77, dtype=np.uint8)), size=(12, 20))
    assert frames.shape == (1, 3, 12, 20)
    assert (as_bytes(frames) == 77).all()


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I", "F"])
def test_any_mode_is_understood(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr", "I", "F") else "a.png")
    save(path, np.full((8, 8, 3), 255, dtype=np.uint8), mode)
    assert read(path).shape == (1, 3, 16, 16)
    if mode not in ("I", "F"):
        assert as_bytes(read(path)).min() >= 254


def test_sixteen_bits_a_pixel_are_scaled_not_cut(tmp_path):
    levels = np.array([[0, 257 * 100], [257 * 200, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert as_bytes(read(tmp_path / "a.png", size=(2, 2)))[0, ..., 0].tolist() == [[0, 100], [200, 255]]


def test_what_is_transparent_is_black(tmp_path):
    clear = np.full((4, 4, 4), 255, dtype=np.uint8)
    clear[:2, :, 3] = 0
    frames = as_bytes(read(save(tmp_path / "a.png", clear), size=(4, 4)))[0]
    assert frames[:2].max() == 0 and frames[2:].min() == 255


def test_a_video_gives_its_first_frames_at_the_models_rate(tmp_path):
    levels = np.arange(30) * 8
    video = np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (30, 32, 32, 3))
    path = write_mp4(tmp_path / "a.mp4", video, fps=30)
    frames = as_bytes(read(path, num_frames=4, fps=10)).mean((1, 2, 3))
    assert np.abs(frames - levels[[0, 3, 6, 9]]).max() < 6
    assert len(read(path, num_frames=100, fps=10)) == 10  # as many as there are


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "is not there"),
        ("text.png", b"hello, this is no picture", "neither a picture nor a video"),
        ("empty.png", b"", "neither a picture nor a video"),
        ("notes.mp4", b"\x00" * 500, "neither a picture nor a video"),
    ],
)
def test_what_is_no_prompt_is_said_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_damaged_and_huge_pictures_too(tmp_path, picture, monkeypatch):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)
    path = save(tmp_path / "b.png", picture)
    for limit in (200, 100):  # a picture of 256 pixels: a warning of Pillow at the one, an error at the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings(), pytest.raises(UserError, match="too large"):
            read(path)


def test_without_a_file_a_validation_clip_is_taken(pong_root):
    data = {"root": str(pong_root), "num_frames": 99, "batch_size": 64, "image_size": [64, 64]}
    frames, actions = data_prompt(data, (64, 64), num_frames=3, index=5)
    with h5py.File(pong_root / "val.h5") as file:
        assert np.array_equal(as_bytes(frames), file["frames"][5:8])
        assert actions.tolist() == file["actions"][5:8].tolist()
    with pytest.raises(UserError, match="prompt_clip=100000: .* clips"):
        data_prompt(data, (64, 64), num_frames=3, index=100000)
    with pytest.raises(UserError, match="without prompt="):
        data_prompt({**data, "root": str(pong_root / "nowhere")}, (64, 64), num_frames=3, index=0)
