"""The first frames of a video file."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from data_modules.formats.video_file import find_film, open_stream, picture
from genie.common.errors import UserError, reason
from genie.prompting.pictures import MOST_PIXELS
from genie.prompting.rates import at_rate

# Files that hold a video themselves. Others, playlists above all, would have FFmpeg open what they name.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,m4v"
MOST_DECODED = 1000  # frames for each one that is taken, so that a file cannot keep the decoder busy for ever


def read_video(
    source: Path | bytes, name: str, num_frames: int, fps: float, keep: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """What `keep` makes of at most `num_frames` frames uint8 [H, W, 3] at `fps`, from the start of a video file or of
    its content.

    They are turned as the camera says; of several videos in the file it is the one that training reads (`find_film`).
    A video that is damaged later on counts up to there. Raises UserError for what is no video that can be read, or one
    of more than `MOST_PIXELS` a frame.
    """
    frames: list[np.ndarray] = []
    try:
        number, _ = find_film(source, CONTAINERS)
        with open_stream(source, number, CONTAINERS) as (container, stream):
            if math.prod((stream.codec_context.width, stream.codec_context.height)) > MOST_PIXELS:
                raise UserError(f"{name} has more than {MOST_PIXELS // 10**6} million pixels: make it smaller")
            decoded = itertools.islice(container.decode(stream), MOST_DECODED * num_frames)
            for frame in itertools.islice(at_rate(_shown(decoded), fps), num_frames):
                frames.append(keep(picture(frame)))
    except UserError:
        raise
    except (av.error.FFmpegError, IndexError, ValueError, OSError) as error:
        if not frames:
            raise UserError(f"{name} is neither a picture nor a video that can be read ({reason(error)})") from error
    if not frames:
        raise UserError(f"{name} is a video without frames")
    return frames


def _shown(decoded: Iterator[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame | None]]:
    """Frames with the second at which each appears; the last one is seen for as long as the one before."""
    second, length = 0.0, 0.0
    for frame in decoded:
        appears = frame.time or 0.0
        second, length = appears, appears - second
        yield appears, frame
    yield second + (length or 1e-3), None
