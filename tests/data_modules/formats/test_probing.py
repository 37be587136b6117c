"""Files that are no videos, or not whole ones, are told from those that are, in a few words and with no other noise."""

import struct

import av
import numpy as np
import pytest
from PIL import Image

from data_modules.formats.decoding import probe
from data_modules.worker_loader import DamagedData


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)


def cut(path, share=0.6):
    """The file without its end."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def write_audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), format="fltp", layout="stereo")
        frame.rate = 44100
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


def write_empty_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = 48, 64
        container.start_encoding()
    return path


def write_picture(path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, format="png")
    return path


def write_text(path, text):
    path.write_text(text)
    return path


def test_what_is_no_video_or_not_all_of_one_is_named(tmp_path, write_video, clip, capfd):
    simple = {"g": 20, "scenecut": 0}
    bad = {
        "empty": (write_text(tmp_path / "empty.mp4", ""), "Invalid data"),
        "text": (write_text(tmp_path / "text.mp4", "not a video\n" * 50), "Invalid data"),
        "picture": (write_picture(tmp_path / "picture.mp4"), "another kind"),
        "audio": (write_audio(tmp_path / "audio.mp4"), "holds no video"),
        "no frame": (write_empty_video(tmp_path / "none.mp4"), "holds no"),
        "missing": (tmp_path / "missing.mp4", "No such file"),
        "folder": (tmp_path, "Is a directory"),
        "no index": (cut(write_video(tmp_path / "cut.mp4", clip, **simple)), "Invalid data"),
        "index first": (
            cut(write_video(tmp_path / "fast.mp4", clip, file={"movflags": "faststart"}, **simple)),
            r"ends after \d+ of 60 frames",
        ),
        "mkv": (cut(write_video(tmp_path / "cut.mkv", clip, **simple)), "ends 0.8 seconds before its 2.0"),
        "avi": (cut(write_video(tmp_path / "cut.avi", clip, codec="mpeg4")), r"ends after \d+ of 60 frames"),
    }
    for name, (path, match) in bad.items():
        with pytest.raises(DamagedData, match=match) as raised:
            probe(path)
        assert "\n" not in str(raised.value), name
    assert capfd.readouterr() == ("", "")


def test_a_playlist_in_a_videos_clothes_leads_nowhere(tmp_path, write_video, clip):
    path = write_video(tmp_path / "real.mp4", clip[:4])
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n"
    with pytest.raises(DamagedData):
        probe(write_text(tmp_path / "list.mp4", text))
    with pytest.raises(DamagedData):
        probe(write_text(tmp_path / "join.mp4", f"ffconcat version 1.0\nfile {path.name}\n"))


def test_a_last_frame_that_is_shown_for_long_is_not_a_missing_end(tmp_path, write_video, clip):
    milliseconds = [0, 500, 3000, 3100]
    assert (
        len(probe(write_video(tmp_path / "slow.gif", clip[:4], "gif", pix_fmt="rgb8", milliseconds=milliseconds)).times)
        == 4
    )
    path = write_video(tmp_path / "slow.mkv", clip[:4], milliseconds=milliseconds)
    assert len(probe(path).times) == 4
    content = bytearray(path.read_bytes())
    duration = content.index(b"\x44\x89\x88") + 3  # of the whole file, as other programs write it: to where it is shown
    content[duration : duration + 8] = struct.pack(">d", 5600)
    path.write_bytes(content)
    assert len(probe(path).times) == 4


def test_names_that_a_library_would_take_for_an_address(tmp_path, write_video, clip, monkeypatch):
    write_video(tmp_path / "x.mp4", clip[:4]).rename(tmp_path / "10:30 http:ü.mp4")
    monkeypatch.chdir(tmp_path)
    (path,) = (file.relative_to(tmp_path) for file in tmp_path.glob("*.mp4"))
    assert len(probe(path).times) == 4
