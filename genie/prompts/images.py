"""Prompt images and videos, read and fitted.

What moves, at another rate.

A picture of any shape becomes one of the model's size.

Pictures of any size and format as RGB, upright, without more being decoded than memory holds.

Moving pictures (GIF, WebP, APNG) are read here too. `None` stands for what is no picture: perhaps a video.

The first frames of a video file.

Dimension letters: `H W` pixels.
"""

import functools
import io
import itertools
import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from data_modules.formats.video_file import find_film, open_stream, picture
from data_modules.image_resize import Fit
from genie.common.config_errors import one_line
from genie.common.errors import UserError, reason

Picture = TypeVar("Picture")
ROUNDING = 1e-6  # seconds: times in files are multiples of some fraction


def at_rate(shown: Iterable[tuple[float, Picture | None]], fps: float) -> Iterator[Picture]:
    """What is seen 0, 1/`fps`, 2/`fps`, ... seconds after the beginning.

    `shown`: when each picture appears, in seconds, rising; the last is None: from then on nothing is seen.
    """
    count, first, seen = 0, None, None
    for second, one in shown:
        first = second if first is None else first
        while seen is not None and count / fps < second - first - ROUNDING:
            yield seen
            count += 1
        seen = one


def usual_fit(config: dict[str, Any]) -> str:
    """How the frames were fitted that a run was trained on, by its configuration."""
    return config.get("data", {}).get("fit", "squeeze")


def fit_picture(
    picture: np.ndarray, size: tuple[int, int], how: str, around: np.ndarray | tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    """uint8 [H, W, 3] → [*size, 3], `how` as in `Fit`; "pad" shows the colour `around` the picture."""
    fit = Fit(picture.shape[:2], size, how)
    fitted = fit(picture[None])[0]
    if how == "pad":
        (top, left), (height, width) = fit.place, fit.filled
        inside = fitted[top : top + height, left : left + width].copy()
        fitted[:] = around
        fitted[top : top + height, left : left + width] = inside
    return fitted


# What people have. The others that Pillow knows are rare, and some of them start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
MOVING = ("GIF", "WEBP", "PNG")  # of the other formats, the first picture of a file counts
LARGE = 4096  # pixels: a longer side is first reduced by a whole factor, so that memory stays small
MOST_PIXELS = 80_000_000  # of a picture: some 300 MB when it is decoded
SMALLEST = 2  # pixels a side: one of one pixel is a slip, such as the dot with which web pages count their visitors
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff")  # of pictures that are no videos
SECONDS = 0.1  # that a picture of a moving one is shown where it does not say: what browsers do


def read_pictures(
    source: Path | bytes, name: str, num_frames: int, fps: float, keep: Callable[[Image.Image], Any] = Image.Image.copy
) -> list[Any] | None:
    """What `keep` makes of the picture in a file or its content: of one, or of a moving one of at most `num_frames` at
    `fps` from its start. They have mode RGB, or RGBA where something is transparent.

    `name`: what messages call it. Nothing is decoded before its size is known, and one at a time. Raises UserError for
    a picture that is damaged, has more than `MOST_PIXELS`, or is less than `SMALLEST` wide or high.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()
        ) as image:  # fmt: skip
            if math.prod(image.size) > MOST_PIXELS:
                raise Image.DecompressionBombError
            if min(image.size) < SMALLEST:
                size = "x".join(map(str, image.size))
                raise UserError(f"{name} is {size} pixels large, and nothing can be seen in it: give another picture")
            if image.format == "PNG":
                _check_sums(source)
            if image.format in MOVING and getattr(image, "is_animated", False):
                return [keep(shown) for shown in itertools.islice(at_rate(_shown(image), fps), num_frames)]
            image.draft("RGB", (LARGE, LARGE))  # a JPEG is decoded at a fraction of its size where that is enough
            return [keep(_decoded(image))]
    except UnidentifiedImageError as error:
        if _begins(source).startswith(SIGNATURES):  # a decoder of videos would make something of it
            raise UserError(f"{name} is damaged and cannot be read: give another picture") from error
        return None
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} has more than {MOST_PIXELS // 10**6} million pixels: make it smaller") from error
    except Exception as error:  # whatever a decoder says to bytes that were made to break it
        raise UserError(f"{name} is damaged and cannot be read ({one_line(error)}): give another picture") from error


def _begins(source: Path | bytes) -> bytes:
    """The first bytes of a file or its content."""
    if isinstance(source, bytes):
        return source[:8]
    with open(source, "rb") as file:
        return file.read(8)


def _check_sums(source: Path | bytes) -> None:
    """ValueError where a part of a PNG is not what its checksum says: Pillow decodes pixels without asking."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    at, kind = 8, b""
    while kind != b"IEND":
        kind, end = content[at + 4 : at + 8], at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            raise ValueError("its end is missing")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError("a part of it has another checksum")
        at = end + 4


@functools.cache
def _formats() -> list[str]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def to_rgb(image: Image.Image, behind: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]; what is transparent shows the grey level `behind` it."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (behind, behind, behind, 255)), image)
    return np.asarray(image.convert("RGB"))


def _shown(image: Image.Image) -> Iterator[tuple[float, Image.Image | None]]:
    """The pictures of a moving one, each with the second at which it appears; at the end, None."""
    seconds = 0.0
    for one in ImageSequence.Iterator(image):
        shown = _decoded(one)  # here: only now it is known for how long
        yield seconds, shown
        seconds += one.info.get("duration", 0) / 1000 or SECONDS
    yield seconds, None


def _decoded(image: Image.Image) -> Image.Image:
    """In mode RGB or RGBA, turned as the camera says, at most `LARGE` pixels wide and high."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    factor = -(-max(image.size) // LARGE)
    return ImageOps.exif_transpose(image.reduce(factor) if factor > 1 else image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits or of numbers, which Pillow would clip at 255 instead of scaling it.

    Numbers (mode F) count as [0, 1] or [0, 255], whichever holds them.
    """
    grey = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode == "F":
        grey *= 255 if grey.max(initial=0) <= 1 else 1
    else:
        grey /= 257
    scaled = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    scaled.info = image.info
    scaled.getexif().update(image.getexif())
    return scaled


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
            for frame in itertools.islice(at_rate(_shown_frames(decoded), fps), num_frames):
                frames.append(keep(picture(frame)))
    except UserError:
        raise
    except (av.error.FFmpegError, IndexError, ValueError, OSError) as error:
        if not frames:
            raise UserError(f"{name} is neither a picture nor a video that can be read ({reason(error)})") from error
    if not frames:
        raise UserError(f"{name} is a video without frames")
    return frames


def _shown_frames(decoded: Iterator[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame | None]]:
    """Frames with the second at which each appears; the last one is seen for as long as the one before."""
    second, length = 0.0, 0.0
    for frame in decoded:
        appears = frame.time or 0.0
        second, length = appears, appears - second
        yield appears, frame
    yield second + (length or 1e-3), None
