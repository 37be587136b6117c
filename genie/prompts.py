"""The first frames of a generated video: from a picture, a video, or the run's own data.

Whatever its size, a prompt is brought to the model's by the exact area resize that the recordings went through, so a
screenshot in the original resolution becomes the frame that the recorder would have stored. The shape is not kept:
a wide picture is squeezed, not cropped.
"""

import warnings
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from data_modules.clip_data_module import ClipDataModule
from data_modules.resize import AreaResize
from genie.errors import UserError

LARGE = 4096  # pixels: a longer side is first reduced by a whole factor, so that memory stays small


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
    resized = np.concatenate([_fit(frame, image_size) for frame in frames])  # [T, H, W, 3]
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255


def data_prompt(data: dict, image_size: tuple[int, int], num_frames: int, index: int) -> tuple[Tensor, Tensor | None]:
    """Frames [T, 3, H, W] in [0, 1] of a validation clip, and its actions int64 [T] (None: not recorded).

    `data` is the group of that name in the run's configuration. Raises UserError where there is no such clip.
    """
    settings = {"num_frames": num_frames, "batch_size": 1, "val_clips": None, "num_workers": 0, "in_memory": False}
    module = ClipDataModule(**{**data, **settings, "image_size": image_size})
    try:
        module.setup()
    except UserError as error:
        raise UserError(f"without prompt= a frame of the data set is taken, and {error}") from error
    clips = module.val_dataset
    if not 0 <= index < len(clips):
        raise UserError(f"prompt_clip={index}: the validation data have {len(clips)} clips, from 0")
    clip = clips[index]
    return clip["frames"].float() / 255, clip.get("actions")


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
