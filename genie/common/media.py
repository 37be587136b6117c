"""Images and videos: conversion, composition and files.

A video is an array uint8 [T, H, W, 3], an image uint8 [H, W, 3].
"""

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genie.common.errors import UserError
from genie.common.files import replacing

CONTEXT_COLOR = (70, 130, 230)  # border of given frames
PREDICTED_COLOR = (245, 140, 30)  # border of generated frames
BACKGROUND_COLOR = (24, 24, 24)
TEXT_COLOR = (230, 230, 230)
TEXT_SIZE = 14
LARGEST_SIDE = 8192  # pixels of an enlarged image: the limit of H.264, where a frame is 200 MB
VIDEO_HEIGHT = 256  # least height of a generated video in pixels


def to_bytes(frames: Tensor) -> np.ndarray:
    """Frames [..., C, H, W] in [0, 1], clipped to it, or uint8 → uint8 [..., H, W, 3]; one channel becomes grey."""
    if frames.is_floating_point():
        frames = (frames.float().clamp(0, 1) * 255).round().byte()
    array = np.moveaxis(frames.cpu().numpy(), -3, -1)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def scale_to(height: int, at_least: int) -> int:
    """The smallest whole factor that enlarges `height` pixels to `at_least` that many."""
    return max(1, -(-at_least // height))


def check_scale(scale: int | None, size: tuple[int, int]) -> None:
    """Raises UserError where images (H, W) enlarged `scale` times exceed `LARGEST_SIDE` pixels."""
    if scale is not None and scale * max(size) > LARGEST_SIDE:
        raise UserError(
            f"scale={scale} makes {scale * size[0]}x{scale * size[1]} of {size[0]}x{size[1]}: give at most "
            f"scale={LARGEST_SIDE // max(size)}"
        )


def enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """[..., H, W, 3] → [..., scale·H, scale·W, 3]: every pixel becomes a square."""
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)


def border(frames: np.ndarray, color: tuple[int, int, int], width: int) -> np.ndarray:
    """[..., H, W, 3] → [..., H + 2·width, W + 2·width, 3]."""
    height, breadth = frames.shape[-3:-1]
    framed = np.empty((*frames.shape[:-3], height + 2 * width, breadth + 2 * width, 3), dtype=np.uint8)
    framed[:] = color
    framed[..., width : width + height, width : width + breadth, :] = frames
    return framed


def border_by_origin(video: np.ndarray, num_context: int, width: int) -> np.ndarray:
    """A border of `CONTEXT_COLOR` around the first `num_context` frames, of `PREDICTED_COLOR` around the others."""
    parts = (video[:num_context], CONTEXT_COLOR), (video[num_context:], PREDICTED_COLOR)
    return np.concatenate([border(frames, color, width) for frames, color in parts])


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(TEXT_SIZE)


def text_size(text: str) -> tuple[int, int]:
    """Height and width in pixels that `caption` needs for `text`."""
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((0, 0), text, font=_font())
    return int(bottom - min(top, 0)) + 6, int(right - min(left, 0)) + 8


def caption(text: str, height: int, width: int) -> np.ndarray:
    """`text` centred in an image of the given size, cropped where it does not fit."""
    image, center = Image.new("RGB", (width, height), BACKGROUND_COLOR), (width / 2, height / 2)
    ImageDraw.Draw(image).text(center, text, fill=TEXT_COLOR, font=_font(), anchor="mm", align="center")
    return np.asarray(image)


def grid(
    rows: list[list[np.ndarray]],
    row_labels: list[str] | None = None,
    column_labels: list[str] | None = None,
    gap: int = 4,
) -> np.ndarray:
    """Videos [T, H, W, 3] (or images [H, W, 3]) of one size in rows of equal length, with labels at the left and above.

    Returns one such array. A label wider than its column is cropped.
    """
    height, width = rows[0][0].shape[-3:-1]
    leading = rows[0][0].shape[:-3]
    label_height = max((text_size(label)[0] for label in column_labels), default=0) if column_labels else 0
    label_width = max((text_size(label)[1] for label in row_labels), default=0) if row_labels else 0
    total_height = label_height + gap + len(rows) * (height + gap)
    total_width = label_width + gap + len(rows[0]) * (width + gap)
    canvas = np.empty((*leading, total_height, total_width, 3), dtype=np.uint8)
    canvas[:] = BACKGROUND_COLOR
    for y, row in enumerate(rows):
        top = label_height + gap + y * (height + gap)
        if row_labels:
            canvas[..., top : top + height, :label_width, :] = caption(row_labels[y], height, label_width)
        for x, cell in enumerate(row):
            left = label_width + gap + x * (width + gap)
            canvas[..., top : top + height, left : left + width, :] = cell
    for x, label in enumerate(column_labels or []):
        left = label_width + gap + x * (width + gap)
        canvas[..., :label_height, left : left + width, :] = caption(label, label_height, width)
    return canvas


def write_mp4(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Writes H.264 in yuv420p, which every player supports, atomically; takes `frames` uint8 [H, W, 3] one at a time.

    Odd sizes are padded to even ones, which the format needs, by repeating the last row or column.
    Raises ValueError where there is no frame.
    """
    path, stream = Path(path), None
    with replacing(path) as file, av.open(file, mode="w", format="mp4") as container:
        for frame in frames:
            frame = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "16"}  # nearly lossless: small objects have to stay visible
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is None:
            raise ValueError("a video needs at least one frame")
        container.mux(stream.encode())
    return path


def write_animation(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> Path:
    """Writes an endless animated picture, WebP (lossless) or GIF by the ending of `path`, atomically; takes `frames`
    uint8 [H, W, 3]. Raises ValueError where there is no frame."""
    path = Path(path)
    pictures = [Image.fromarray(frame) for frame in frames]
    if not pictures:
        raise ValueError("an animation needs at least one frame")
    options = {"save_all": True, "append_images": pictures[1:], "duration": round(1000 / fps), "loop": 0}
    if path.suffix == ".webp":
        options |= {"lossless": True, "quality": 100, "method": 4}
    with replacing(path) as file:
        pictures[0].save(file, format=path.suffix[1:], **options)
    return path


def read_mp4(path: str | Path) -> tuple[np.ndarray, float]:
    """The frames uint8 [T, H, W, 3] of a video file, and frames per second."""
    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), rate


def write_png(path: str | Path, picture: np.ndarray) -> Path:
    """Writes uint8 [H, W, 3], atomically."""
    with replacing(path) as file:
        Image.fromarray(picture).save(file, format="png")
    return Path(path)


def write_frames(folder: str | Path, frames: Iterable[np.ndarray]) -> Path:
    """Writes frame_0000.png, frame_0001.png, …; deletes further such files of a longer former video."""
    folder, count = Path(folder), 0
    for count, frame in enumerate(frames, 1):
        write_png(folder / f"frame_{count - 1:04d}.png", frame)
    for path in folder.glob("frame_*.png"):
        number = path.stem.removeprefix("frame_")
        if number.isdigit() and int(number) >= count:
            path.unlink()
    return folder
