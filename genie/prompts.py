"""The first frames of a generated video: from a picture, a video, an array, or the run's own data.

Whatever its size, a prompt is brought to the model's by the exact area resize that the recordings went through, so a
screenshot in the original resolution becomes the frame that the recorder would have stored. The shape is not kept:
a wide picture is squeezed, not cropped.
"""

import io
import warnings
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from data_modules.clip_data_module import ClipDataModule
from data_modules.resize import AreaResize
from genie.errors import UserError

LARGE = 4096  # pixels: a longer side is first reduced by a whole factor, so that memory stays small
MOST_PIXELS = 25_000_000  # of a picture that is sent: what a telephone takes, and 100 MB when it is decoded
SENT_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def read_prompt(path: str | Path, image_size: tuple[int, int], num_frames: int, fps: float) -> Tensor:
    """Frames float [T, 3, H, W] in [0, 1]: one of a picture, at most `num_frames` from the start of a video.

    A video is sampled at `fps` frames a second. Transparent parts of a picture become black. Raises UserError for a
    file that is missing, damaged, too large, or neither a picture nor a video.
    """
    path = Path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise UserError(f"prompt={path} is {kind}: give a picture or a video")
    frames = _read_picture(path)
    if frames is None:
        frames = _read_video(path, num_frames, fps)
    return _to_frames(np.concatenate([_fit(frame, image_size) for frame in frames]))


def array_prompt(array: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    """Frames float [T, 3, H, W] in [0, 1] of an array uint8 [T, H, W, 3] or [H, W, 3]; all of them.

    Raises UserError for any other array.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise UserError(f"prompt is {array.dtype} {list(array.shape)}: give uint8 [T, H, W, 3] or [H, W, 3], or a path")
    frames = array.reshape(-1, *array.shape[-3:])
    return _to_frames(AreaResize(frames.shape[1:3], tuple(image_size))(frames))


def data_prompt(data: dict, image_size: tuple[int, int], num_frames: int, index: int) -> tuple[Tensor, Tensor | None]:
    """Frames [T, 3, H, W] in [0, 1] of a validation clip, and its actions int64 [T] (None: not recorded).

    `data` is the group of that name in the run's configuration. Raises UserError where there is no such clip.
    """
    return PromptClips(data, image_size, num_frames)[index]


class PromptClips:
    """The validation clips of a run's data: `clips[index]` as `data_prompt` gives it.

    `info`: what is known of the data set. Raises UserError where the data is not there.
    """

    def __init__(self, data: dict, image_size: tuple[int, int], num_frames: int) -> None:
        settings = {"num_frames": num_frames, "batch_size": 1, "val_clips": None, "num_workers": 0, "in_memory": False}
        module = ClipDataModule(**{**data, **settings, "image_size": image_size})
        try:
            module.setup()
        except UserError as error:
            raise UserError(f"without prompt= a frame of the data set is taken, and {error}") from error
        self.clips, self.info = module.val_dataset, module.info

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        if not 0 <= index < len(self):
            raise UserError(f"prompt_clip={index}: the validation data have {len(self)} clips, from 0")
        clip = self.clips[index]
        return clip["frames"].float() / 255, clip.get("actions")


def decode_picture(content: bytes, image_size: tuple[int, int]) -> Tensor:
    """The frame [1, 3, H, W] in [0, 1] of an encoded picture (of a moving one, its first) that somebody sent.

    Nothing is decoded before its size is known. Raises UserError for what is no picture, or one of more than
    `MOST_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(content), formats=SENT_FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UserError(
                    f"the picture has {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million: shrink it"
                )
            image.draft("RGB", (LARGE, LARGE))  # a JPEG is decoded at a fraction of its size where that is enough
            array = _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise UserError(f"this is no picture that can be read: send one of {', '.join(SENT_FORMATS)}") from error
    except UserError:
        raise
    except Exception as error:  # whatever a decoder says to bytes that were made to break it
        raise UserError("the picture is damaged and cannot be read: send another one") from error
    return _to_frames(_fit(array, image_size))


def _read_picture(path: Path) -> list[np.ndarray] | None:
    """One array uint8 [H, W, 3], or None for a file that Pillow does not know or that moves."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if getattr(image, "n_frames", 1) > 1:
                    return None
                factor = -(-max(image.size) // LARGE)
                image = image.reduce(factor) if factor > 1 else image
                return [_to_rgb(image)]
    except UnidentifiedImageError:
        return None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"prompt={path} is too large ({error}): make it smaller") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"prompt={path} cannot be read ({error}): give another picture") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut to 8 by clipping
        grey = (np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"))


def _read_video(path: Path, num_frames: int, fps: float) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            start = None
            for frame in container.decode(video=0):
                time = frame.time or 0.0
                start = time if start is None else start
                if time - start + 1e-6 >= len(frames) / fps:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == num_frames:
                    break
    except (av.error.FFmpegError, IndexError, ValueError) as error:
        if not frames:
            reason = f"{error}".splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"prompt={path} is neither a picture nor a video that can be read ({reason})") from error
    if not frames:
        raise UserError(f"prompt={path} is a video without frames")
    return frames


def _fit(picture: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return AreaResize(picture.shape[:2], tuple(image_size))(picture[None])


def _to_frames(pictures: np.ndarray) -> Tensor:
    """uint8 [T, H, W, 3] → float [T, 3, H, W] in [0, 1]."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 255
