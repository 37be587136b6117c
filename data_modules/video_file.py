"""A video file as PyAV shows it: its stream, and its frames with their numbers.

The number of a frame is its place in the order in which frames are shown.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"  # no playlists: these name other files
SAME_TIME = 1e-7  # seconds by which the time of one frame may differ when it is computed in two ways


@dataclass(frozen=True)
class Video:
    """What has to be known of a video to read its frames by number; `probing.py` finds it out.

    times: float64 [N], when each frame is shown, in seconds, rising.
    height, width: as shown: a telephone's recording is turned as its file says.
    timed: whether the decoded frames carry these times. Where not (H.264 in AVI), they are counted from the start.
    orderly: whether decord numbers the frames likewise and shows them alike.
    """

    path: Path
    times: np.ndarray
    height: int
    width: int
    timed: bool
    orderly: bool


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its first stream of pictures. Raises `av.FFmpegError`, or ValueError for another kind of file."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    # An absolute path: of a relative one that begins with `10:30` the library would take 10 for a protocol.
    try:
        container = av.open(os.path.abspath(path), options=options, metadata_errors="ignore")
    except av.ArgumentError as error:
        raise ValueError("it is a file of another kind") from error
    try:
        # A picture that is attached is the cover of music.
        streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise ValueError("it holds no video")
        streams[0].thread_type = "NONE"  # the workers of the loader are the threads here
        streams[0].codec_context.thread_count = 1
        yield container, streams[0]
    finally:
        container.close()


def number_at(time: float, times: np.ndarray) -> int:
    """The number of the frame that is shown at a time in seconds, -1 before the first."""
    return int(np.searchsorted(times, time + SAME_TIME, side="right")) - 1


def numbered(frames: Iterable[VideoFrame], times: np.ndarray) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers. Raises ValueError for one without a time."""
    for frame in frames:
        if frame.time is None:
            raise ValueError("it does not say when its frames are shown")
        yield number_at(frame.time, times), frame


def picture(frame: VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3] of a decoded frame, turned as the file says; what is transparent is black.

    Raises ValueError for a frame that the decoder could only guess.
    """
    if frame.is_corrupt:
        raise ValueError("a damaged frame")
    if has_alpha(frame):
        with_alpha = frame.to_ndarray(format="rgba").astype(np.uint16)
        array = ((with_alpha[..., :3] * with_alpha[..., 3:] + 127) // 255).astype(np.uint8)
    else:
        array = frame.to_ndarray(format="rgb24")
    return np.rot90(array, frame.rotation // 90) if frame.rotation else array


def has_alpha(frame: VideoFrame) -> bool:
    """Whether parts of it may be transparent."""
    return any(component.is_alpha for component in frame.format.components)


def thumbnails(video: Video, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number, uint8 [size, size, 3]) of all frames that can be decoded."""
    with open_stream(video.path) as (container, stream):
        frames = _undamaged(container, stream)
        for number, frame in numbered(frames, video.times) if video.timed else enumerate(frames):
            small = frame.reformat(width=size, height=size, format="rgb24", interpolation="AREA")
            yield number, small.to_ndarray()


def _undamaged(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    for packet in container.demux(stream):
        with suppress(av.FFmpegError):
            yield from packet.decode()
