"""What a user may give as a prompt: pictures of all modes and formats, videos, drawings; whole and damaged.

A picture that nothing was done to is compared with the pixels that it was made of: turned as its EXIF tag says, its
16 bits as 8. A damaged PNG shows these, or is refused: it has checksums.
"""

import functools
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from genie.common.settings.schema import typed
from genie.prompts.prompt import Prompter, prompt_kind
from genie.prompts.sketch import palette_of_names
from tests.fuzz import goods
from tests.fuzz.harness import SilentChange, damaged, odd_value

MODES = ("RGB", "RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", "YCbCr", "HSV", "LAB", "F", "I")
EXACT = ("RGB", "L", "I;16")
FORMATS = ("PNG", "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF")
SIDES = (0, 1, 2, 3, 8, 8, 8, 16, 17, 100)
LOSSLESS = ("PNG", "PNG", "TIFF", "TIFF", "BMP", "PPM", "TGA")
ORIENTATION = 0x0112
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF's numbers: what is to be done to the stored pixels
    2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1), 7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}  # fmt: skip


@dataclass
class World:
    """What a prompter asks of a world."""

    image_size: tuple[int, int] = goods.SIZE
    fps: float = 10.0
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.config = {"data": {"fit": "squeeze"}}


class Prompts:
    """Pictures, videos, drawings and texts, brought to a world's size."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config = folder, typed("generate", goods.configuration("generate", "run=x"))
        self.path = folder / "prompt"
        self.video = video_file()

    def close(self) -> None:
        pass

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        config = self.config.changed(prompt_frames=chance.choice((1, 2, 4)), prompt_palette=[[0, 0, 0], "white"])
        expected = None
        match chance.randrange(12):
            case 0 | 1:
                content = damaged(chance, self.video, note)
            case 2:
                return self._keys(chance, note)
            case 3:
                content = bytes(chance.randrange(256) for _ in range(chance.choice((0, 1, 10, 1000))))
                note(f"{len(content)} random bytes")
            case 4 | 5 | 6:
                content, expected = picture_file(chance, note, exact=True)
            case _:
                content, expected = picture_file(chance, note)
                if chance.random() < 0.7:
                    content, whole = damaged(chance, content, note), content
                    if content != whole and not content.startswith(b"\x89PNG"):
                        expected = None  # no checksum tells
        prompter = Prompter(config, World())
        sketch = expected is None and chance.random() < 0.5
        note(f"{'sketch' if sketch else 'file'}, {config.prompt_frames} frames")
        source: Path | bytes = content
        if chance.random() < 0.5:
            self.path.write_bytes(content)
            source = self.path
        frames = (prompter.sketch if sketch else prompter.file)(source, "prompt=x")
        self._check(frames, config.prompt_frames)
        if expected is not None and expected.shape[:2] == goods.SIZE:
            shown = (frames[0].permute(1, 2, 0) * 255).round().byte().numpy()
            if not np.array_equal(shown, expected):
                raise SilentChange(f"pixels differ by {np.abs(shown.astype(int) - expected).max()}")

    def _check(self, frames: torch.Tensor, most: int) -> None:
        if frames.ndim != 4 or frames.shape[1:] != (3, *goods.SIZE) or not 1 <= len(frames) <= most:
            raise SilentChange(f"frames {list(frames.shape)}, at most {most} were asked for")
        whole = frames * 255
        if (
            not torch.isfinite(frames).all()
            or frames.min() < 0
            or frames.max() > 1
            or (whole - whole.round()).abs().max() > 1e-3
        ):
            raise SilentChange("frames are not multiples of 1/255 in [0, 1]")

    def _keys(self, chance: random.Random, note: Callable[[str], None]) -> None:
        """Values of the keys of conf/prompt.yaml that are not one of some choices."""
        name = chance.choice(("prompt", "prompt_palette", "text_model"))
        kind = chance.choice(("auto", "sketch", "text"))
        value = chance.choice((odd_value(chance), "text", str(self.folder), [[300, 0, 0], "red"], ["#12"]))
        note(f"prompt_kind={kind} {name}={str(value)[:200]!r}")
        config = typed("generate", {**self.config.plain(), "prompt_kind": kind, name: value})
        kind = prompt_kind(config)
        if name == "prompt_palette" and value is not None:
            palette_of_names(value, goods.SIZE)
        if kind == "file" or kind == "sketch":
            Prompter(config, World()).given()


def picture_file(
    chance: random.Random, note: Callable[[str], None], exact: bool = False
) -> tuple[bytes, np.ndarray | None]:
    """A picture in some mode, size and format; the pixels uint8 [H, W, 3] that it shows, where they are known exactly.

    `exact`: one of which they are."""
    mode, format = chance.choice(EXACT if exact else MODES), chance.choice(LOSSLESS if exact else FORMATS)
    height, width = (8, 8) if exact or chance.random() < 0.6 else (chance.choice(SIDES), chance.choice(SIDES))
    if not exact and chance.random() < 0.01:
        size = chance.choice(((1, 100_000), (9000, 9000), (5000, 5000), (70_000, 2)))
        note(f"a white PNG of {size[0]}x{size[1]}")
        return large_picture(size), None
    pixels = np.random.default_rng(chance.randrange(1000)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    flat = height * width == 0 or height * width > 10**5
    image = Image.new("RGB", (width, height)) if flat else Image.fromarray(pixels)
    expected = None if flat else pixels
    if mode == "I;16":
        grey = pixels[..., 0].astype(np.uint16) if not flat else np.zeros((height, width), np.uint16)
        image = Image.fromarray(grey * 257)
        expected = None if flat else np.repeat(pixels[..., :1], 3, axis=-1)
    elif mode == "L":
        image = image.getchannel(0)
        expected = None if flat else np.repeat(pixels[..., :1], 3, axis=-1)
    elif mode != "RGB":
        try:
            image = image.convert(mode)
        except ValueError:
            image = image.convert("L").convert(mode) if mode in ("1", "LA", "I", "F") else image
        expected = None
    options: dict = {}
    if chance.random() < 0.5 and format in ("JPEG", "PNG", "WEBP", "TIFF"):
        turn = chance.choice((*TURNED, 0, 9, 1))
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        options["exif"] = exif.tobytes()
        note(f"orientation {turn}")
        if expected is not None and turn in TURNED:
            expected = TURNED[turn](expected)
    if not exact and chance.random() < 0.3 and format in ("GIF", "WEBP", "PNG", "TIFF") and not flat:
        options |= {"save_all": True, "append_images": [image.copy() for _ in range(chance.choice((1, 3)))],
                    "duration": chance.choice((0, 1, 100, 60_000))}  # fmt: skip
        note(f"{1 + len(options['append_images'])} pictures of {options['duration']} ms")
    file = io.BytesIO()
    try:
        image.save(file, format=format, **options)
    except Exception:  # a format that does not know the mode or the size: its nearest
        file, options = io.BytesIO(), {}
        format, expected = "PNG", None
        Image.new("RGB", (max(1, width), max(1, height)), (9, 99, 199)).save(file, format=format)
    note(f"{format} {mode} {height}x{width}")
    return file.getvalue(), expected if format in LOSSLESS else None


@functools.cache
def large_picture(size: tuple[int, int]) -> bytes:
    """A PNG of one bit a pixel: small, until it is decoded."""
    file = io.BytesIO()
    Image.new("1", size, 1).save(file, format="PNG")
    return file.getvalue()


def video_file() -> bytes:
    """An mp4 of six frames."""
    file = io.BytesIO()
    with av.open(file, mode="w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number in range(6):
            picture = np.full((16, 16, 3), 40 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
