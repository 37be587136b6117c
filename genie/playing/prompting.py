"""Where a rollout begins: a clip of the validation data, or pictures that somebody gave.

A prompt knows its `source`, which is what a session file keeps of it: {"clip": index, "frames": T}, or the pictures
themselves, {"images": [PNG in base64, …]}, at the model's size and therefore without loss.

Dimension letters: `T` frames, `H W` pixels.
"""

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, cat

from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import read_prompt
from genie.world.world_model import WorldModel

MOST_IMAGES = 64  # in a session file: more than a window is of no use


@dataclass(frozen=True)
class Prompt:
    """`frames` float [T, 3, H, W] in [0, 1]; `actions` int64 [T-1] between them, None where the model infers them."""

    frames: Tensor
    actions: Tensor | None
    source: dict[str, Any]


def encode_png(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as PNG; quickly rather than small."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png", compress_level=1)
    return file.getvalue()


def decode_png(content: bytes) -> np.ndarray:
    """The picture uint8 [H, W, 3] of `encode_png`."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))


def clip_prompt(clips: PromptClips, index: int, world: WorldModel) -> Prompt:
    """A clip of the validation data. Raises UserError where there is none of this number."""
    frames, actions = clips[index]
    return Prompt(frames, world.prompt_actions(actions), {"clip": index, "frames": len(frames)})


def picture_prompt(frames: Tensor) -> Prompt:
    """Frames [T, 3, H, W] in [0, 1] that are multiples of 1/255, at the model's size."""
    pictures = [base64.b64encode(encode_png(picture)).decode() for picture in to_bytes(frames)]
    return Prompt(frames, None, {"images": pictures})


def prompt_from(source: Any, world: WorldModel) -> Prompt:
    """The prompt that a session file describes. Raises UserError for anything else."""
    match source:
        case {"clip": index, "frames": count} if type(index) is type(count) is int and 0 < count <= MOST_IMAGES:
            return clip_prompt(PromptClips(world.config["data"], world.image_size, count), index, world)
        case {"images": [*pictures]} if 0 < len(pictures) <= MOST_IMAGES:
            try:
                contents = [base64.b64decode(picture, validate=True) for picture in pictures]
            except (TypeError, ValueError, binascii.Error) as error:
                raise UserError("its prompt has a picture that is not in base64") from error
            size, name = world.image_size, "a picture of its prompt"
            frames = [read_prompt(content, name, size, 1, world.fps, "squeeze") for content in contents]
            return picture_prompt(cat(frames))
    raise UserError("its prompt is neither a clip of the data nor pictures")
