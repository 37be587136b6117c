"""Prompt images and videos, decoded safely, resampled in time and fitted to the model's size.

Pictures of any size and format become RGB, upright, without more being decoded than memory holds. Moving pictures (GIF,
WebP, APNG) are read like videos.

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
# Common formats. The others that Pillow knows are rare, and some of them start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
MOVING = ("GIF", "WEBP", "PNG")  # of the other formats, only the first picture of a file is read
LARGE = 4096  # pixels: a longer side is first reduced by a whole factor, so that memory stays small
MOST_PIXELS = 80_000_000  # of a picture: some 300 MB when it is decoded
SMALLEST = 2  # pixels a side: a picture of one pixel is a mistake, such as the counting pixel of a web page
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff")  # of pictures that are no videos
SECONDS = 0.1  # for which a picture of a moving one is shown by default, as in browsers
# Files that hold a video themselves. Others, playlists above all, would have FFmpeg open other files.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,m4v"
MOST_DECODED = 1000  # frames for each one that is taken, so that a file cannot keep the decoder busy for ever


def at_rate(shown: Iterable[tuple[float, Picture | None]], fps: float) -> Iterator[Picture]:
    """The pictures shown 0, 1/`fps`, 2/`fps`, ... seconds after the beginning.

    `shown`: pictures with the increasing second at which each appears; the last is None and marks the end.
    """
    count, first, seen = 0, None, None
    for second, one in shown:
        first = second if first is None else first
        while seen is not None and count / fps < second - first - ROUNDING:
            yield seen
            count += 1
        seen = one


def usual_fit(config: dict[str, Any]) -> str:
    """The fit (see `Fit`) of the frames that a run was trained on, by its configuration."""
    return config.get("data", {}).get("fit", "squeeze")


def fit_picture(
    picture: np.ndarray, size: tuple[int, int], how: str, around: np.ndarray | tuple[int, int, int] = (0, 0, 0)
) -> np.ndarray:
    """uint8 [H, W, 3] → [*size, 3], `how` as in `Fit`; "pad" fills with the colour `around`."""
    fit = Fit(picture.shape[:2], size, how)
    fitted = fit(picture[None])[0]
    if how == "pad":
        (top, left), (height, width) = fit.place, fit.filled
        inside = fitted[top : top + height, left : left + width].copy()
        fitted[:] = around
        fitted[top : top + height, left : left + width] = inside
    return fitted


def read_pictures(
    source: Path | bytes, name: str, num_frames: int, fps: float, keep: Callable[[Image.Image], Any] = Image.Image.copy
) -> list[Any] | None:
    """`keep` of the picture in a file or its content; of a moving one, of at most `num_frames` at `fps` from its start.

    Pictures have mode RGB, or RGBA where something is transparent. They are decoded one at a time, after a check of
    their size. None: no picture, perhaps a video. `name`: used in messages. Raises UserError for a picture that is
    damaged, has more than `MOST_PIXELS`, or is less than `SMALLEST` wide or high.
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
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            damaged = file.read(8).startswith(SIGNATURES)
        if damaged:  # a decoder of videos might accept it
            raise UserError(f"{name} is damaged and cannot be read: give another picture") from error
        return None
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{name} has more than {MOST_PIXELS // 10**6} million pixels: make it smaller") from error
    except Exception as error:  # decoders raise errors of any kind for malicious bytes
        raise UserError(f"{name} is damaged and cannot be read ({one_line(error)}): give another picture") from error


def _check_sums(source: Path | bytes) -> None:
    """Raises ValueError for a wrong checksum of a part of a PNG: Pillow ignores those of pixels."""
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
    """uint8 [H, W, 3]; transparent parts show the grey level `behind`."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (behind, behind, behind, 255)), image)
    return np.asarray(image.convert("RGB"))


def _shown(image: Image.Image) -> Iterator[tuple[float, Image.Image | None]]:
    """The pictures of a moving one, as in `at_rate`."""
    seconds = 0.0
    for one in ImageSequence.Iterator(image):
        shown = _decoded(one)  # before its duration is known
        yield seconds, shown
        seconds += one.info.get("duration", 0) / 1000 or SECONDS
    yield seconds, None


def _decoded(image: Image.Image) -> Image.Image:
    """In mode RGB or RGBA, in the orientation of its metadata, at most `LARGE` pixels wide and high."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    factor = -(-max(image.size) // LARGE)
    return ImageOps.exif_transpose(image.reduce(factor) if factor > 1 else image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits or of floats, in [0, 1] or [0, 255]; Pillow would clip at 255 instead of scaling."""
    grey = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode != "F":
        grey /= 257
    elif grey.max(initial=0) <= 1:
        grey *= 255
    scaled = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    scaled.info = image.info
    scaled.getexif().update(image.getexif())
    return scaled


def read_video(
    source: Path | bytes, name: str, num_frames: int, fps: float, keep: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """`keep` of at most `num_frames` frames uint8 [H, W, 3] at `fps`, from the start of a video file or of its content.

    Frames have the orientation of the metadata; of several videos in the file, the one that training reads is taken
    (`find_film`). A damaged video is read up to the damage. Raises UserError for a file that is no readable video, or
    one of more than `MOST_PIXELS` a frame.
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
    """Frames as in `at_rate`; the last one is shown for as long as the one before."""
    second, length = 0.0, 0.0
    for frame in decoded:
        appears = frame.time or 0.0
        second, length = appears, appears - second
        yield appears, frame
    yield second + (length or 1e-3), None
