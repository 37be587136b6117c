"""Frames by number, in every kind of file, whoever decodes them: the frames of these videos show their numbers."""

import dataclasses
import multiprocessing
from importlib.util import find_spec

import numpy as np
import pytest
from av.stream import Disposition

from data_modules.formats.decoding import DECODERS, probe, read_frames
from data_modules.worker_loader import DamagedData

COUNT = 60
INSTALLED = [name for name in DECODERS if name != "decord" or find_spec(name)]
SOME = ([0], [5, 6, 7], [59], [22], [12, 30, 31], [45, 59], [11, 12, 13], [1])  # forwards and back
BARS = {"g": 12}
# No AV1: its encoder gives the process that calls it, where that is root's, the highest priority there is.
FORMATS = {
    "b-frames.mp4": {"bf": 3, **BARS},
    "no-b-frames.mov": {"bf": 0, **BARS},
    "b-frames.mkv": {"bf": 3, **BARS},
    "open.mp4": {"bf": 3, "x264-params": "open-gop=1:scenecut=0", **BARS},
    "h265.mp4": {"codec": "libx265", "x265-params": "log-level=none", **BARS},
    "vp9.webm": {"codec": "libvpx-vp9", "cpu-used": 8, "deadline": "realtime", **BARS},
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 16, **BARS},
    "mpeg4.avi": {"codec": "mpeg4", "bf": 2, **BARS},
    "h264.avi": {"bf": 2, **BARS},
    "h264-simple.avi": {"bf": 0, **BARS},
    "gif.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "ten-bits.mp4": {"pix_fmt": "yuv420p10le", **BARS},
    "late.mp4": {"milliseconds": [5000 + 33 * n for n in range(COUNT)], **BARS},
    "variable.mov": {"milliseconds": np.cumsum([20, 30, 100, 41, 7] * 12).tolist(), "bf": 2, **BARS},
}


def as_it_is(frames):
    return frames


@pytest.fixture(scope="module")
def videos(tmp_path_factory, write_video, number_frames):
    folder = tmp_path_factory.mktemp("formats")
    frames = number_frames(COUNT)
    return {name: probe(write_video(folder / name, frames, **settings)) for name, settings in FORMATS.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_the_right_frames_come_from_every_place_of_every_kind_of_file(videos, read_numbers, name):
    assert len(videos[name].times) == COUNT
    for numbers in SOME:
        fresh = dataclasses.replace(videos[name])  # another object is opened anew: nothing comes from the place before
        assert read_numbers(read_frames(fresh, np.array(numbers), "pyav", as_it_is)) == numbers
        assert read_numbers(read_frames(fresh, np.array(numbers), "pyav", as_it_is)) == numbers


def test_decord_gives_the_same_frames_and_is_asked_only_where_it_does(videos, read_numbers):
    pytest.importorskip("decord", reason="pip install 'genie-world[decord]'")
    asked = {name for name, video in videos.items() if not video.only_pyav}
    assert {"b-frames.mp4", "no-b-frames.mov", "b-frames.mkv", "vp9.webm", "late.mp4", "variable.mov"} <= asked
    assert not asked & {"h265.mp4", "mpeg4.avi", "h264.avi", "h264-simple.avi", "gif.gif"}
    assert (videos["mpeg4.avi"].only_pyav, videos["h265.mp4"].only_pyav) == ("avi files", "codec hevc")
    for name in asked - {"open.mp4"}:
        for numbers in SOME:
            assert read_numbers(read_frames(videos[name], np.array(numbers), "decord", as_it_is)) == numbers, name


def test_times_are_those_at_which_frames_are_shown(videos):
    np.testing.assert_allclose(videos["b-frames.mp4"].times, np.arange(COUNT) / 30, atol=1e-4)
    np.testing.assert_allclose(videos["vp9.webm"].times, np.arange(COUNT) / 30, atol=6e-4)
    np.testing.assert_allclose(videos["late.mp4"].times * 1000, FORMATS["late.mp4"]["milliseconds"], atol=0.1)
    np.testing.assert_allclose(videos["variable.mov"].times * 1000, FORMATS["variable.mov"]["milliseconds"], atol=0.1)


def test_a_file_without_a_table_of_its_frames(tmp_path, videos, read_numbers):
    """As a browser records it: nobody went back to write where the frames are."""
    whole = videos["vp9.webm"].path.read_bytes()
    path = tmp_path / "live.webm"
    path.write_bytes(whole.replace(b"\x1c\x53\xbb\x6b", b"\xec\x53\xbb\x6b"))  # cues become an unknown element
    assert path.read_bytes() != whole
    assert read_numbers(read_frames(probe(path), np.array([40, 41]), "pyav", as_it_is)) == [40, 41]


def test_a_telephones_video_stands_upright(tmp_path, write_video, number_frames):
    frames = number_frames(4, (32, 48)).copy()
    frames[:, :16] = 255  # the upper half, which a turn by 90 degrees to the right brings to the right
    path = write_video(tmp_path / "turned.mp4", frames)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # of the track: 16.16 fixed point, row by row
    one = (1 << 16).to_bytes(4, "big")
    content[matrix : matrix + 20] = bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, "big", signed=True) + bytes(4)
    path.write_bytes(content)
    video = probe(path)
    assert (video.height, video.width) == (48, 32)
    for decoder in INSTALLED:
        shown = read_frames(video, np.array([0, 1]), decoder, as_it_is)
        assert shown.shape == (2, 48, 32, 3)
        assert shown[0, :, 18:].min() > 200 > 60 > shown[0, :, :14].max(), decoder


def test_odd_sizes_and_transparency(tmp_path, write_video, number_frames, read_numbers):
    path = write_video(tmp_path / "odd.webm", number_frames(9, (47, 65)), codec="libvpx-vp9", deadline="realtime")
    assert read_numbers(read_frames(probe(path), np.array([3, 8]), "pyav", as_it_is)) == [3, 8]
    see_through = np.full((3, 16, 16, 4), 255, np.uint8)
    see_through[:, :, :8, 3] = 0
    path = write_video(tmp_path / "alpha.mov", see_through, codec="qtrle", pix_fmt="argb")
    shown = read_frames(probe(path), np.array([2]), "decord", as_it_is)[0]
    assert (shown[:, :8] == 0).all() and (shown[:, 8:] == 255).all()


def _child(video, queue):
    queue.put(read_frames(video, np.array([20]), "auto", as_it_is))


@pytest.mark.parametrize("decoder", INSTALLED)
def test_a_forked_process_does_not_move_in_the_file_of_its_parent(videos, read_numbers, decoder):
    video = videos["b-frames.mp4"]
    assert read_numbers(read_frames(video, np.array([3]), decoder, as_it_is)) == [3]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(video, queue), daemon=True)
    child.start()
    assert read_numbers(queue.get(timeout=20)) == [20]
    child.join(60)
    assert child.exitcode == 0
    assert read_numbers(read_frames(video, np.array([4, 50]), decoder, as_it_is)) == [4, 50]


def test_damage_in_the_middle_is_one_error_and_the_rest_is_read(
    tmp_path, write_video, number_frames, read_numbers, capfd
):
    noise = np.random.default_rng(0).integers(0, 60, (COUNT, 48, 64, 1), dtype=np.uint8)
    frames = number_frames(COUNT) // 2 + noise
    path = write_video(tmp_path / "damaged.mp4", frames, g=20, bf=0, **{"x264-params": "scenecut=0"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    video = probe(path)
    with pytest.raises(DamagedData, match=r"damaged.mp4, 1.10 to 1.20 s, cannot be decoded \(\w") as raised:
        read_frames(video, np.arange(33, 37), "pyav", as_it_is)
    assert "\n" not in str(raised.value)
    for numbers in ([3, 4], [50, 51], [18]):
        shown = read_frames(video, np.array(numbers), "pyav", as_it_is)
        assert np.abs(shown.astype(int) - frames[numbers]).mean() < 20
    assert capfd.readouterr() == ("", "")


def white(count, size=(32, 32)):
    return np.full((count, *size, 3), 255, np.uint8)


@pytest.mark.parametrize("ending", ["mkv", "mp4", "mov"])
def test_of_several_streams_of_pictures_the_film_is_read(tmp_path, write_streams, number_frames, read_numbers, ending):
    film, small = ("libx264", None, number_frames(20)), ("libx264", None, number_frames(20, (32, 32)))
    files = {
        "thumbnail first": (("mjpeg", None, white(1)), film),
        "thumbnail last": (film, ("mjpeg", None, white(1))),
        "thumbnail as the default": (("mjpeg", Disposition.default, white(1)), film),
        "larger than the film": (("mjpeg", None, white(1, (96, 128))), film),
        "cover": (("mjpeg", Disposition.attached_pic, white(1)), film),
        "teaser": (("libx264", Disposition.default, white(5, (64, 96))), film),
        "another film": (small, ("libx264", Disposition.default, film[2])),
    }
    for name, streams in files.items():
        video = probe(write_streams(tmp_path / f"{name}.{ending}", *streams))
        assert (len(video.times), video.height, video.width) == (20, 48, 64), name
        for decoder in INSTALLED:
            fresh = dataclasses.replace(video)
            assert read_numbers(read_frames(fresh, np.array([0, 7, 19]), decoder, as_it_is)) == [0, 7, 19], name
        chosen = "of its 2 videos stream 1 (64x48, 20 frames) is read"
        assert video.which == (chosen if name == "another film" else ""), name


def test_of_two_films_without_a_default_the_larger_is_read(tmp_path, write_streams, number_frames):
    for sizes in (((32, 32), (48, 64)), ((48, 64), (32, 32))):
        streams = [("libx264", None, number_frames(20, size)) for size in sizes]
        assert probe(write_streams(tmp_path / "films.mkv", *streams)).height == 48


def test_a_video_with_only_a_cover_or_of_an_unknown_codec_is_one_line(tmp_path, write_streams, number_frames):
    path = write_streams(tmp_path / "cover.mp4", ("mjpeg", Disposition.attached_pic, white(1)))
    with pytest.raises(DamagedData, match="it holds no video"):
        probe(path)
    path = write_streams(tmp_path / "new.mp4", ("libx264", None, number_frames(3)))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(DamagedData, match="its codec is unknown"):
        probe(path)
