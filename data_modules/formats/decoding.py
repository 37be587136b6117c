"""Decoding of video frames by number through PyAV or decord, and the first inspection of a video.

PyAV seeks by time, and finds the right frame in every kind of file that is tested. decord counts packets from key frame
to key frame, which fails where a key frame is stored before frames that are shown earlier (MPEG-4, H.265), and in AVI
files; PyAV reads all of these instead (`Video.only_pyav`), with a note for users who chose decord. Of H.264 with open
groups of pictures decord still returns the last frame but one as the last.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_modules.formats.video_file import (
    TarMember,
    Video,
    VideoSource,
    find_film,
    has_alpha,
    number_at,
    numbered,
    open_stream,
    picture,
)
from data_modules.worker_loader import DamagedData, now_reading

OPEN_FILES = 4  # of a process: a decoder of large frames holds tens of MB
# Decoders with a choice for each frame whether to skip it. That of AV1 applies its first setting to all frames.
SKIPPING = ("h264", "hevc", "mpeg4")
ORDERLY = ("h264", "vp8", "vp9")  # codecs that decord decodes, and whose frames it can number
ORDER_FRAMES = 16  # decoded of a file whose times may be guesses, to see whether the times rise
MISSING_SHARE = 0.1  # a file that ends so much earlier than its header says was truncated
VP8_SHOWN = 0x10  # in the first byte of a packet (RFC 6386, 9.1): the others only serve to predict


def read_frames(
    video: Video, numbers: np.ndarray, decoder: str, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The frames of the rising numbers int64 [n]: uint8 [n, ...], each as `change` makes it of [1, H, W, 3].

    Changed one by one, so that only one frame of the video's size is held. decoder: a key of `DECODERS`.
    Raises DamagedData where one cannot be decoded.
    """
    opened = None
    now_reading(video.path)
    try:
        opened = _open_files.get(video, decoder)
        return np.concatenate([change(frame[None]) for frame in opened.read(numbers)])
    except Exception as error:  # each library has many exceptions of its own
        _open_files.forget(opened)
        first, last = video.times[numbers[0]], video.times[numbers[-1]]
        raise DamagedData(f"{video.path}, {first:.2f} to {last:.2f} s, cannot be decoded ({reason(error)})") from error


def reason(error: Exception) -> str:
    """The reason of a decoding error in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


class PyAVVideo:
    """PyAV; seeks by time to the last key frame before the wanted frame."""

    def __init__(self, video: Video):
        self.video = video
        self._open()

    def _open(self) -> None:
        self.context = open_stream(self.video.path, self.video.stream)
        self.container, self.stream = self.context.__enter__()

    def read(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] of each of the rising numbers. Raises any exception where one cannot be decoded."""
        wanted = iter(numbers.tolist())
        number = next(wanted)
        for found, frame in self._from(number, set(numbers.tolist())):
            if found > number:
                break
            if found == number:
                yield picture(frame)
                if (number := next(wanted, None)) is None:
                    return
        raise ValueError("a frame is missing")

    def _from(self, number: int, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) from a frame at or before `number` on; some unwanted frames are skipped."""
        times, back = self.video.times, 0.0
        # A seek may end after the requested time: key frames are indexed by the time at which they are decoded.
        while self.video.timed and times[number] - back > times[0]:
            try:
                self.container.seek(round((times[number] - back) / self.stream.time_base), stream=self.stream)
            except FFmpegError:
                break  # the file has no index of its frames
            frames = numbered(self._decoded(wanted), times)
            first = next(frames, None)
            if first is not None and first[0] <= number:
                return chain([first], frames)
            back = max(2 * back, 1.0)
        self.close()
        self._open()
        if not self.video.timed:
            return enumerate(self.container.decode(self.stream))
        return numbered(self._decoded(wanted), times)

    def _decoded(self, wanted: set[int]) -> Iterator[VideoFrame]:
        """Frames from the current position: all wanted ones, and those that their decoding needs."""
        assert self.stream.time_base is not None
        context, unit = self.stream.codec_context, float(self.stream.time_base)
        for packet in self.container.demux(self.stream):
            if context.name in SKIPPING and packet.pts is not None:
                number = number_at(packet.pts * unit, self.video.times)
                context.skip_frame = "DEFAULT" if number in wanted else "NONREF"
            yield from packet.decode()

    def close(self) -> None:
        self.context.__exit__(None, None, None)


class DecordVideo:
    """decord, with the interface of `PyAVVideo`."""

    def __init__(self, video: Video):
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self.video = video
        assert isinstance(video.path, Path)  # decord reads none in a tar (`Video.only_pyav`)
        self.reader: Any = decord.VideoReader(os.path.abspath(video.path), num_threads=1)
        if len(self.reader) != len(video.times):
            raise ValueError(f"decord finds {len(self.reader)} frames, there are {len(video.times)}")

    def read(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        yield from self.reader.get_batch(numbers).asnumpy()

    def close(self) -> None:
        self.reader = None


# `python -m benchmarks.data_loading`, two CPU cores: 18 ms of CPU for a clip with PyAV, 45 with decord, which reads all
# of a file when it opens it.
DECODERS = {"auto": PyAVVideo, "pyav": PyAVVideo, "decord": DecordVideo}


class OpenFiles:
    """The few videos that this process has open. A forked process never touches those of its parent: both would move
    the position in the same open file, and the decoder's threads do not exist in the child."""

    def __init__(self):
        self.process, self.videos, self.inherited = os.getpid(), OrderedDict(), []

    def get(self, video: Video, decoder: str) -> PyAVVideo | DecordVideo:
        if self.process != os.getpid():
            self.inherited.append(self.videos)
            self.process, self.videos = os.getpid(), OrderedDict()
        kind = PyAVVideo if video.only_pyav else DECODERS[decoder]
        opened = self.videos.pop(video.path, None)
        if opened is not None and (opened.video is not video or not isinstance(opened, kind)):
            opened.close()
            opened = None
        self.videos[video.path] = opened = opened or kind(video)
        if len(self.videos) > OPEN_FILES:
            self.videos.popitem(last=False)[1].close()
        return opened

    def forget(self, opened: PyAVVideo | DecordVideo | None) -> None:
        """Closes a video after an error, since the state of its decoder is unknown."""
        if opened is not None and self.videos.pop(opened.video.path, None):
            opened.close()


_open_files = OpenFiles()


@dataclass
class Packets:
    """Facts from the packets of a file. times: of the stream's frames in decoding order, in units of its time base."""

    times: list[int | None]
    keys: list[int]  # indices of the packets with key frames
    first: list[VideoFrame]
    hidden: bool = False  # whether some are never shown
    start: float = np.inf  # seconds, over all streams
    end: float = -np.inf


def probe(path: VideoSource) -> Video:
    """Reads all packets of a video and decodes its first frame (of AVI, `ORDER_FRAMES`). Raises DamagedData where there
    is nothing to train on; its message does not name the file."""
    try:
        number, which = find_film(path)
        with open_stream(path, number) as (container, stream):
            # AVI does not store times
            packets = _read_packets(container, stream, ORDER_FRAMES if container.format.name == "avi" else 1)
            if not packets.times or not packets.first:
                raise ValueError("it holds no frame")
            stored = np.array(packets.times, dtype=np.int64)
            order = np.argsort(stored, kind="stable")
            assert stream.time_base is not None
            times = stored[order] * float(stream.time_base)
            _check_end(container, stream, packets, times)
            shown = [number for number, _ in numbered(packets.first, times)]
            timed = shown == sorted(set(shown)) and shown[0] >= 0
            skipped = shown[0] if timed else 0  # the first frames may need others that were cut off
            height, width = picture(packets.first[0]).shape[:2]
            only_pyav = "in a tar" if isinstance(path, TarMember) else ""
            only_pyav = only_pyav or _not_for_decord(container, stream, packets, order, skipped)
            return Video(path, number, times[skipped:], height, width, timed, only_pyav, which)
    except (FFmpegError, ValueError, OSError) as error:
        raise DamagedData(reason(error)) from error


def _not_for_decord(
    container: InputContainer, stream: VideoStream, packets: Packets, order: np.ndarray, skipped: int
) -> str:
    """Why decord would number the frames differently or return others; "" where it does not."""
    kind, codec = container.format.name.split(",")[0], stream.codec_context.name
    reasons = {
        f"{kind} files": kind not in ("mov", "matroska"),
        f"codec {codec}": codec not in ORDERLY,
        "several streams of pictures": len(container.streams.video) > 1,
        "frames that are not shown": packets.hidden or skipped,
        "transparent frames": has_alpha(packets.first[0]),
        "key frames out of order": (order[packets.keys] != packets.keys).any(),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _read_packets(container: InputContainer, stream: VideoStream, num_first: int) -> Packets:
    """All packets, and the first `num_first` frames."""
    found = Packets([], [], [])
    for packet in container.demux():
        if packet.pts is not None:
            found.start = min(found.start, float(packet.pts * packet.time_base))
            found.end = max(found.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        if len(found.first) < num_first:
            found.first += cast("list[VideoFrame]", packet.decode())
        vp8 = stream.codec_context.name == "vp8"
        if packet.size and not packet.is_discard and (not vp8 or bytes(packet)[0] & VP8_SHOWN):
            if packet.is_keyframe:
                found.keys.append(len(found.times))
            found.times.append(packet.dts if packet.pts is None else packet.pts)
        elif packet.size:
            found.hidden = True
    if None in found.times:
        raise ValueError("it does not say when its frames are shown")
    return found


def _check_end(container: InputContainer, stream: VideoStream, packets: Packets, times: np.ndarray) -> None:
    """Raises ValueError where a file is shorter than its header says, as after an interrupted download."""
    if len(packets.times) < (1 - MISSING_SHARE) * stream.frames:
        raise ValueError(f"it ends after {len(packets.times)} of {stream.frames} frames")
    declared = (container.duration or 0) / av.time_base
    missing = declared - max(packets.end, packets.end - packets.start)
    pause = np.diff(times).max(initial=0)  # the last frame may be shown for long without a duration
    if missing > max(MISSING_SHARE * declared, 2 * pause):
        raise ValueError(f"it ends {missing:.1f} seconds before its {declared:.1f}")
