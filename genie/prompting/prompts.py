"""The first frames of a generated video: from a picture, a video or an array, of any size.

Dimension letters: `T` frames, `H W` pixels.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.prompting.fitting import fit_picture
from genie.prompting.pictures import read_pictures, to_rgb
from genie.prompting.videos import read_video


def read_prompt(
    source: Path | bytes, name: str, image_size: tuple[int, int], num_frames: int, fps: float, fit: str
) -> Tensor:
    """Frames float [T, 3, H, W] in [0, 1] of a file or of its content: one of a picture, at most `num_frames` from the
    start of what moves, at `fps` frames a second.

    `fit` as in `fit_picture`; `name`: what messages call the prompt. Transparent parts of a picture become black.
    Raises UserError for what is missing, damaged, too large, or neither a picture nor a video.
    """

    def fitted(picture: np.ndarray) -> np.ndarray:
        return fit_picture(picture, image_size, fit)

    if isinstance(source, Path):
        require_file(source, name)
    frames = read_pictures(source, name, num_frames, fps, lambda picture: fitted(to_rgb(picture)))
    if frames is None:
        frames = read_video(source, name, num_frames, fps, fitted)
    return to_frames(frames)


def array_prompt(array: np.ndarray, image_size: tuple[int, int], fit: str) -> Tensor:
    """Frames float [T, 3, H, W] in [0, 1] of an array uint8 [T, H, W, 3] or [H, W, 3]; all of them.

    Raises UserError for any other array.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise UserError(f"prompt is {array.dtype} {list(array.shape)}: give uint8 [T, H, W, 3] or [H, W, 3], or a path")
    return to_frames([fit_picture(picture, image_size, fit) for picture in array.reshape(-1, *array.shape[-3:])])


def to_frames(pictures: Sequence[np.ndarray]) -> Tensor:
    """uint8 [H, W, 3] each → float [T, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def require_file(path: Path, name: str) -> None:
    """Raises UserError where there is no such file, and says what else a prompt may be."""
    if not os.path.isfile(path):  # unlike Path.is_file, this knows that a text is no name of a file
        kind = "a folder" if os.path.isdir(path) else "not there"
        raise UserError(
            f"{name} is {kind}: give a picture or a video, or a text with prompt_kind=text text_model=<model>"
        )
