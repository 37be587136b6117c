"""Looks at a video once: when its frames are shown, how large they are, whether there is anything to train on."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_modules.damage import DamagedData
from data_modules.decoding import reason
from data_modules.video_file import Video, find_film, has_alpha, numbered, open_stream, picture

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
