"""Any picture or video becomes a prompt of the model's size, or one line says why not."""

import struct
import zlib

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from genie.common.errors import UserError
from genie.common.media import write_mp4
from genie.prompts import images
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import read_prompt


def read(source, size=(16, 16), num_frames=1, fps=10.0, fit="squeeze"):
    return read_prompt(source, f"prompt={source}", size, num_frames, fps, fit)


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


@pytest.mark.parametrize("size", [(2, 2), (3, 1000), (17, 15), (16, 200)])
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


def test_numbers_are_scaled_by_what_they_are(tmp_path):
    for top in (1, 255):
        Image.fromarray(np.array([[0, 0.2 * top], [0.6 * top, top]], dtype=np.float32)).save(tmp_path / "a.tif")
        assert as_bytes(read(tmp_path / "a.tif", size=(2, 2)))[0, ..., 0].tolist() == [[0, 51], [153, 255]]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "I;16"])
def test_a_very_large_one_is_reduced_whatever_its_mode(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(images, "LARGE", 8)
    image = Image.new("RGB", (60, 60), "white").convert("L" if mode == "I;16" else mode)
    (Image.fromarray(np.full((60, 60), 65535, np.uint16)) if mode == "I;16" else image).save(tmp_path / "a.png")
    assert as_bytes(read(tmp_path / "a.png")).min() == 255


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
    slow = as_bytes(read(path, num_frames=5, fps=60)).mean((1, 2, 3))
    assert np.abs(slow - levels[[0, 0, 1, 1, 2]]).max() < 6  # a frame is seen until the next one comes


def test_a_thumbnail_before_the_video_is_not_the_prompt(tmp_path, write_streams):
    white, dark = (np.full((count, 32, 32, 3), level, np.uint8) for count, level in ((1, 255), (20, 40)))
    path = write_streams(tmp_path / "a.mkv", ("mjpeg", None, white), ("libx264", None, dark))
    for source in (path, path.read_bytes()):
        frames = as_bytes(read(source, num_frames=4, fps=10))
        assert len(frames) == 4 and np.abs(frames.astype(int) - 40).max() < 6


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_a_moving_picture_too(tmp_path, ending):
    levels = [0, 100, 200]
    images = [Image.new("RGB", (8, 8), (level,) * 3) for level in levels]
    path = tmp_path / f"a.{ending}"
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 300, 200], lossless=True)
    for source in (path, path.read_bytes()):
        frames = as_bytes(read(source, num_frames=9)).mean((1, 2, 3))
        assert frames.tolist() == [0, 100, 100, 100, 200, 200]
        assert len(read(source, num_frames=2)) == 2


def test_of_pages_the_first(tmp_path):
    pages = [Image.new("RGB", (8, 8), (level,) * 3) for level in (50, 250)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert as_bytes(read(tmp_path / "a.tif", num_frames=4)).mean((1, 2, 3)).tolist() == [50]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_a_camera_that_was_turned(tmp_path, ending):
    """Orientation 6: the picture's left is the scene's top."""
    array = np.zeros((16, 16, 3), dtype=np.uint8)
    array[:, :8] = 255
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / f"a.{ending}", exif=exif)
    for source in (tmp_path / f"a.{ending}", (tmp_path / f"a.{ending}").read_bytes()):
        frame = as_bytes(read(source))[0]
        assert frame[:7].min() > 240 and frame[9:].max() < 15


def test_a_video_camera_that_was_turned(tmp_path):
    frame = np.zeros((32, 64, 3), dtype=np.uint8)
    frame[:, :32] = 255
    path = write_mp4(tmp_path / "a.mp4", [frame] * 4, fps=10)
    upright = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    clockwise = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 32 * 0x10000, 0, 0x40000000)
    content = path.read_bytes()
    track = content.index(b"tkhd")
    assert upright in content[track:]
    turned = as_bytes(read(content[:track] + content[track:].replace(upright, clockwise, 1)))[0]
    assert turned[:7].min() > 230 and turned[9:].max() < 25  # what was left is above


def test_other_shapes_are_squeezed_padded_or_cropped(tmp_path):
    picture = np.zeros((20, 40, 3), dtype=np.uint8)
    picture[:] = (0, 0, 255)
    picture[:, 10:30] = (255, 0, 0)  # the middle square
    path = save(tmp_path / "a.png", picture)
    squeezed, padded, cropped = (as_bytes(read(path, fit=fit))[0] for fit in ("squeeze", "pad", "crop"))
    assert (cropped == (255, 0, 0)).all()
    assert (squeezed[:, 4:12] == (255, 0, 0)).all() and (squeezed[:, [0, 15]] == (0, 0, 255)).all()
    assert np.array_equal(padded[4:12], squeezed[::2]) and padded[[0, 3, 12, 15]].max() == 0
    tall = save(tmp_path / "b.png", picture.transpose(1, 0, 2))
    for fit, wide in (("pad", padded), ("crop", cropped)):
        assert np.array_equal(as_bytes(read(tall, fit=fit))[0], wide.transpose(1, 0, 2))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.png", None, "is not there"),
        ("text.png", b"hello, this is no picture", "neither a picture nor a video"),
        ("empty.png", b"", "neither a picture nor a video"),
        ("notes.mp4", b"\x00" * 500, "neither a picture nor a video"),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "neither a picture nor a video"),
    ],
)
def test_what_is_no_prompt_is_said_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_list_of_other_files_is_no_video(tmp_path):
    """FFmpeg would open what it names, on this machine or elsewhere."""
    write_mp4(tmp_path / "a.mp4", [np.zeros((32, 32, 3), dtype=np.uint8)] * 10, fps=10)
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(listed)
    for source in (tmp_path / "list.m3u8", listed.encode()):
        with pytest.raises(UserError, match="neither a picture nor a video"):
            read(source)


def huge_png(side):
    """A PNG of few bytes that says it has `side` x `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [9_100, 13_000, 60_000])  # below, at and above what Pillow itself lets through
def test_a_decompression_bomb_is_one_line(tmp_path, recwarn, side):
    (tmp_path / "a.png").write_bytes(huge_png(side))
    for source in (tmp_path / "a.png", huge_png(side)):
        with pytest.raises(UserError, match="more than 80 million pixels: make it smaller") as error:
            read_prompt(source, "prompt=a.png", (16, 16), 1, 10.0, "squeeze")
        assert "\n" not in str(error.value)
    assert not recwarn.list


def test_a_picture_of_one_pixel_is_one_line(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(UserError, match="is 1x1 pixels large"):
        read(path)


def test_damaged_pictures_too(tmp_path):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read(path.read_bytes()[:200])


def test_a_png_whose_pixels_or_animation_have_another_checksum_is_damaged(tmp_path):
    noise = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for n in range(2)]
    noise[0].save(tmp_path / "moving.png", save_all=True, append_images=noise[1:])
    whole = save(tmp_path / "a.png", np.asarray(noise[0])).read_bytes()
    read(whole)
    for content in (whole, (tmp_path / "moving.png").read_bytes()):
        for at in range(8, len(content)):
            damaged = content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]
            with pytest.raises(UserError, match="damaged and cannot be read"):
                read(damaged)


def test_without_a_file_a_validation_clip_is_taken(pong_root):
    data = {"root": str(pong_root), "num_frames": 99, "batch_size": 64, "image_size": [64, 64]}
    frames, actions = PromptClips(data, (64, 64), 3)[5]
    with h5py.File(pong_root / "val.h5") as file:
        assert np.array_equal(as_bytes(frames), file["frames"][5:8])
        assert actions.tolist() == file["actions"][5:8].tolist()
    # what training alone needs may be gone since
    assert torch.equal(PromptClips({**data, "min_quality": 3}, (64, 64), 3)[5][0], frames)
    with pytest.raises(UserError, match="prompt_clip=100000: .* clips"):
        PromptClips(data, (64, 64), 3)[100000]
    with pytest.raises(UserError, match="without prompt="):
        PromptClips({**data, "root": str(pong_root / "nowhere")}, (64, 64), 3)
