"""A text becomes a picture, by a model that others trained.

The group `text_to_image` says which class it is; anything with this one method will do.
"""

from typing import Any, Protocol

import numpy as np
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from genie.common.config_errors import one_line
from genie.common.errors import UserError

LONGEST = 500  # characters; text encoders read some 77 words


class TextToImage(Protocol):
    """Draws pictures of texts."""

    def __call__(self, text: str, size: tuple[int, int], seed: int) -> np.ndarray:
        """uint8 [h, w, 3], as large as the model likes best, in about the shape of `size` (H, W), where it goes.

        The same text, size and seed give the same picture. Raises UserError where that cannot be.
        """
        ...


def load_text_to_image(settings: dict[str, Any], device: torch.device) -> TextToImage:
    """The model of the group `text_to_image`. Raises UserError, in one line, where it cannot be had."""
    try:
        return instantiate(settings, device=device)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise UserError(f"text_to_image cannot be had: {one_line(error)}") from error


def require_text(text: str) -> str:
    """The text without white space around it. Raises UserError where there is none, or too much."""
    words = text.strip()
    if not words or len(words) > LONGEST:
        raise UserError(f"a text prompt has 1 to {LONGEST} characters, this one {len(words)}")
    return words
