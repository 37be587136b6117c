"""Decoding of frames by number through PyAV or decord, and a first look at a video.

Frames of a video by their numbers: the one function that reads them, through PyAV or decord.

PyAV is asked by time, and finds the right frame in every kind of file that is tested. decord counts packets from key
frame to key frame, which goes wrong where a key frame is stored before frames that are shown earlier (MPEG-4, H.265),
and in AVI files; it is asked for none of these (`Video.only_pyav`), and who chose it is told so. Of H.264 with open
groups of pictures it still shows the last frame but one as the last.

Looks at a video once: when its frames are shown, how large they are, whether there is anything to train on.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_modules.formats.video_file import Video, find_film, has_alpha, number_at, numbered, open_stream, picture
from data_modules.worker_loader import DamagedData, now_reading

OPEN_FILES = 4  # of a process: a decoder of large frames holds tens of MB
# Decoders that can be told for each frame whether it may be left out. That of AV1 takes what it is told first for all.
SKIPPING = ("h264", "hevc", "mpeg4")


def read_frames(
    video: Video, numbers: np.ndarray, decoder: str, change: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The frames of these numbers int64 [n], which rise: uint8 [n, ...], each as `change` makes it of [1, H, W, 3].

    Changed one by one, so that no more than one frame of the video's size is held. decoder: a key of `DECODERS`.
    Raises DamagedData where one cannot be decoded.
    """
    opened = None
    now_reading(video.path)
    try:
        opened = _open_files.get(video, decoder)
        return np.concatenate([change(frame[None]) for frame in opened.read(numbers)])
    except Exception as error:  # each library has many kinds of its own
        _open_files.forget(opened)
        first, last = video.times[numbers[0]], video.times[numbers[-1]]
        raise DamagedData(f"{video.path}, {first:.2f} to {last:.2f} s, cannot be decoded ({reason(error)})") from error


def reason(error: Exception) -> str:
    """Why something could not be decoded, in a few words."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0][:200]


class OpenVideo(Protocol):
    """A video opened by one of the libraries."""

    video: Video

    def read(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] of each of the rising numbers. Raises any exception where one cannot be decoded."""
        ...

    def close(self) -> None: ...


class PyAVVideo:
    """Sought by time, from the last key frame before."""

    def __init__(self, video: Video):
        self.video = video
        self._open()

    def _open(self) -> None:
        self.context = open_stream(self.video.path, self.video.stream)
        self.container, self.stream = self.context.__enter__()

    def read(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
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
        """(number, frame) from one at or before `number` on; of frames that are not wanted, some are left out."""
        times, back = self.video.times, 0.0
        # A seek may end behind the time asked for: key frames are filed under the time at which they are decoded.
        while self.video.timed and times[number] - back > times[0]:
            try:
                self.container.seek(round((times[number] - back) / self.stream.time_base), stream=self.stream)
            except av.FFmpegError:
                break  # the file has no table of its frames
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
        """Frames from where the file stands: all that are wanted, and those without which they could not be decoded."""
        context, unit = self.stream.codec_context, float(self.stream.time_base)
        for packet in self.container.demux(self.stream):
            if context.name in SKIPPING and packet.pts is not None:
                number = number_at(packet.pts * unit, self.video.times)
                context.skip_frame = "DEFAULT" if number in wanted else "NONREF"
            yield from packet.decode()

    def close(self) -> None:
        self.context.__exit__(None, None, None)


class DecordVideo:
    """decord's batches."""

    def __init__(self, video: Video):
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self.video = video
        self.reader = decord.VideoReader(os.path.abspath(video.path), num_threads=1)
        if len(self.reader) != len(video.times):
            raise ValueError(f"decord finds {len(self.reader)} frames, there are {len(video.times)}")

    def read(self, numbers: np.ndarray) -> Iterator[np.ndarray]:
        yield from self.reader.get_batch(numbers).asnumpy()

    def close(self) -> None:
        self.reader = None


# `python -m benchmarks.data_loading`, two CPU cores: 18 ms of CPU for a clip with PyAV, 45 with decord, which goes
# through all of a file when it opens it.
DECODERS = {"auto": PyAVVideo, "pyav": PyAVVideo, "decord": DecordVideo}


class OpenFiles:
    """The videos that this process has open, a few.

    One that was forked leaves those of its parent alone, for good: both would move in the same open file, and the
    threads of a decoder are not there to be ended.
    """

    def __init__(self):
        self.process, self.videos, self.inherited = os.getpid(), OrderedDict(), []

    def get(self, video: Video, decoder: str) -> OpenVideo:
        """The video, opened now or before."""
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

    def forget(self, opened: OpenVideo | None) -> None:
        """Closes a video at which something went wrong: who knows what state its decoder is in."""
        if opened is not None and self.videos.pop(opened.video.path, None):
            opened.close()


_open_files = OpenFiles()


ORDERLY = ("h264", "vp8", "vp9")  # codecs that decord decodes, and whose frames it can number
ORDER_FRAMES = 16  # of a file whose times may be guesses, so many are decoded to see whether they rise
MISSING_SHARE = 0.1  # a file that ends so much earlier than it says was cut off
VP8_SHOWN = 0x10  # in the first byte of a packet (RFC 6386, 9.1): the others only serve to predict


@dataclass
class Packets:
    """What the packets of a file say. times: of the stream's frames in the order of decoding, in its units."""

    times: list[int | None]
    keys: list[int]  # numbers of those that begin with a key frame
    first: list[VideoFrame]
    hidden: bool = False  # whether some are never shown
    start: float = np.inf  # seconds, over all streams
    end: float = -np.inf


def probe(path: Path) -> Video:
    """Reads all packets and decodes only the first frame.

    Raises DamagedData where there is nothing to train on; it says why, but not of which file.
    """
    try:
        number, which = find_film(path)
        with open_stream(path, number) as (container, stream):
            guessed = container.format.name == "avi"  # it does not hold times
            packets = _read_packets(container, stream, ORDER_FRAMES if guessed else 1)
            if not packets.times or not packets.first:
                raise ValueError("it holds no frame")
            order = np.argsort(packets.times, kind="stable")
            times = np.array(packets.times, dtype=np.int64)[order] * float(stream.time_base)
            _check_end(container, stream, packets, times)
            shown = [number for number, _ in numbered(packets.first, times)]
            timed = shown == sorted(set(shown)) and shown[0] >= 0
            skipped = shown[0] if timed else 0  # frames that begin a file may need others that were cut off
            height, width = picture(packets.first[0]).shape[:2]
            only_pyav = _not_for_decord(container, stream, packets, order, skipped)
            return Video(path, number, times[skipped:], height, width, timed, only_pyav, which)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise DamagedData(reason(error)) from error


def _not_for_decord(
    container: InputContainer, stream: VideoStream, packets: Packets, order: np.ndarray, skipped: int
) -> str:
    """Why decord would number the frames otherwise, or show others; "" where it does not."""
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
            found.first += packet.decode()
        if _is_shown(packet, stream):
            if packet.is_keyframe:
                found.keys.append(len(found.times))
            found.times.append(packet.dts if packet.pts is None else packet.pts)
        elif packet.size:
            found.hidden = True
    if None in found.times:
        raise ValueError("it does not say when its frames are shown")
    return found


def _is_shown(packet: Packet, stream: VideoStream) -> bool:
    if not packet.size or packet.is_discard:
        return False
    return stream.codec_context.name != "vp8" or bool(bytes(packet)[0] & VP8_SHOWN)


def _check_end(container: InputContainer, stream: VideoStream, packets: Packets, times: np.ndarray) -> None:
    """Raises ValueError where a file is shorter than it says: a download that was broken off."""
    if len(packets.times) < (1 - MISSING_SHARE) * stream.frames:
        raise ValueError(f"it ends after {len(packets.times)} of {stream.frames} frames")
    said = (container.duration or 0) / av.time_base
    missing = said - max(packets.end, packets.end - packets.start)
    pause = np.diff(times).max(initial=0)  # the last frame may be shown for long, and does not say so
    if missing > max(MISSING_SHARE * said, 2 * pause):
        raise ValueError(f"it ends {missing:.1f} seconds before its {said:.1f}")
