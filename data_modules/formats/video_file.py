"""Video files through PyAV: choice of the stream, and frames numbered in the order of display."""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"  # no playlists: these name other files
COVER = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
SAME_TIME = 1e-7  # seconds of rounding error between two computations of the time of a frame


@dataclass(frozen=True)
class TarMember:
    """A file in a tar: `size` bytes from `offset` on. name: in the tar."""

    tar: Path
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.tar}/{self.name}"

    def read(self) -> bytes:
        """The content. Raises OSError."""
        with open(self.tar, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


VideoSource = Path | TarMember


@dataclass(frozen=True)
class Video:
    """Facts that reading frames by number needs; `decoding.probe` finds them.

    stream: index of the stream to read.
    times: float64 [N], when each frame is shown, in seconds, rising.
    height, width: as shown: a phone's recording is rotated as its file says.
    timed: whether the decoded frames carry these times. Where not (H.264 in AVI), they are counted from the start.
    only_pyav: why decord would number the frames differently or return others; "" where it does not.
    which: `find_film`'s description of the choice among several videos; only set by `probe`.
    """

    path: VideoSource
    stream: int
    times: np.ndarray
    height: int
    width: int
    timed: bool
    only_pyav: str
    which: str = ""


def find_film(source: VideoSource | bytes, formats: str = FORMATS) -> tuple[int, str]:
    """The index of the stream to read, and a description of the choice; "" where there is only one.

    Left out are covers and thumbnails: streams marked as such, single pictures, and those less than half as long as the
    longest. Of several others it is, as in players, the one marked as the default, then the largest, then the one with
    the most frames, then the first. A file with more than one stream of pictures is read to its end.

    source: a file, or its content. formats: names of FFmpeg's formats. Raises as `open_stream` does.
    """
    with _opened(source, formats) as container:
        known = [stream for stream in container.streams.video if stream.codec_context is not None]
        streams = [stream for stream in known if not stream.disposition & COVER]
        if not streams:
            raise ValueError("it holds no video" if known or not container.streams.video else "its codec is unknown")
        if len(streams) == 1:
            return streams[0].index, ""
        times: dict[int, list[float]] = {stream.index: [] for stream in streams}
        for packet in container.demux(streams):
            if packet.size and packet.pts is not None:
                times[packet.stream_index].append(float(packet.pts * packet.time_base))
        lasts = {number: max(shown, default=0.0) - min(shown, default=0.0) for number, shown in times.items()}
        half = max(lasts.values()) / 2
        films = [s for s in streams if len(times[s.index]) > 1 and lasts[s.index] >= half] or streams
        default = Disposition.default
        film = max(
            films, key=lambda s: (bool(s.disposition & default), s.width * s.height, len(times[s.index]), -s.index)
        )
        what = f"stream {film.index} ({film.width}x{film.height}, {len(times[film.index])} frames)"
        return film.index, f"of its {len(films)} videos {what} is read" if len(films) > 1 else ""


@contextmanager
def open_stream(
    source: VideoSource | bytes, number: int, formats: str = FORMATS
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file, or its content, and its stream `number` (`find_film`). Raises `av.FFmpegError`, or ValueError for
    another kind of file."""
    with _opened(source, formats) as container:
        stream = cast(VideoStream, container.streams[number])
        stream.thread_type = "NONE"  # the loader's workers run in parallel already
        stream.codec_context.thread_count = 1
        yield container, stream


@contextmanager
def _opened(source: VideoSource | bytes, formats: str) -> Iterator[InputContainer]:
    options = {"format_whitelist": formats}
    if isinstance(source, bytes):
        file = io.BytesIO(source)
    elif isinstance(source, TarMember):
        # FFmpeg's protocol of a part of a file
        end, options["protocol_whitelist"] = source.offset + source.size, "subfile,file"
        file = f"subfile,,start,{source.offset},end,{end},,:{os.path.abspath(source.tar)}"
    else:
        # An absolute path: in a relative one that begins with `10:30` the library would take 10 for a protocol.
        file, options["protocol_whitelist"] = os.path.abspath(source), "file"
    try:
        container = av.open(file, "r", options=options, metadata_errors="ignore")
    except ArgumentError as error:
        raise ValueError(f"it is a file of another kind than {formats}") from error
    with container:
        yield container


def number_at(time: float, times: np.ndarray) -> int:
    """The number of the frame shown at a time in seconds, -1 before the first."""
    return int(np.searchsorted(times, time + SAME_TIME, side="right")) - 1


def numbered(frames: Iterable[VideoFrame], times: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers. Raises ValueError for one without a time."""
    for frame in frames:
        if frame.time is None:
            raise ValueError("it does not say when its frames are shown")
        yield number_at(frame.time, times), frame


def picture(frame: VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded frame, rotated as the file says, transparent parts black. Raises ValueError for a
    corrupt frame, which the decoder could only guess."""
    if frame.is_corrupt:
        raise ValueError("a damaged frame")
    if has_alpha(frame):
        with_alpha = frame.to_ndarray(format="rgba").astype(np.uint16)
        array = ((with_alpha[..., :3] * with_alpha[..., 3:] + 127) // 255).astype(np.uint8)
    else:
        array = frame.to_ndarray(format="rgb24")
    return np.rot90(array, frame.rotation // 90) if frame.rotation else array


def has_alpha(frame: VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def thumbnails(video: Video, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number, uint8 [size, size, 3]) of all frames that can be decoded."""

    def undamaged() -> Iterator[VideoFrame]:
        for packet in container.demux(stream):
            with suppress(FFmpegError):
                yield from packet.decode()

    with open_stream(video.path, video.stream) as (container, stream):
        frames = undamaged()
        for number, frame in numbered(frames, video.times) if video.timed else enumerate(frames):
            small = frame.reformat(width=size, height=size, format="rgb24", interpolation="AREA")
            yield number, small.to_ndarray()
