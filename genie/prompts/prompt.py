"""Prompts: the first frames of a generated video, from a picture, video, array, sketch, text or clip.

Dimension letters: `T` frames, `H W` pixels.
"""

import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from genie.common.errors import UserError
from genie.common.settings.commands import GenerateConfig, PlayConfig
from genie.common.settings.world import Prompted
from genie.prompts.images import fit_picture, read_pictures, read_video, to_rgb, usual_fit
from genie.prompts.text_to_image import TextToImage, load_text_to_image, require_text

if TYPE_CHECKING:  # seconds to import, and the first checks do not need it
    from genie.prompts.sketch import Palette

LIKE_A_FILE = re.compile(r"[/\\]|\.\w{2,5}$|^\S*$")  # a path separator, an ending, or a single word


def read_prompt(
    source: Path | bytes, name: str, image_size: tuple[int, int], num_frames: int, fps: float, fit: str
) -> Tensor:
    """Frames float [T, 3, H, W] in [0, 1] of a file or of its content: one of a picture, at most `num_frames` at `fps`
    from the start of a moving picture or a video.

    `fit` as in `fit_picture`; `name`: used in messages. Transparent parts of a picture become black. Raises UserError
    for a file that is missing, damaged, too large, or neither a picture nor a video.
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
    """Frames float [T, 3, H, W] in [0, 1] of an array uint8 [T, H, W, 3] or [H, W, 3]; UserError for any other."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise UserError(f"prompt is {array.dtype} {list(array.shape)}: give uint8 [T, H, W, 3] or [H, W, 3], or a path")
    return to_frames([fit_picture(picture, image_size, fit) for picture in array.reshape(-1, *array.shape[-3:])])


def to_frames(pictures: Sequence[np.ndarray]) -> Tensor:
    """uint8 [H, W, 3] each → float [T, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def require_file(path: Path, name: str) -> None:
    if not os.path.isfile(path):  # unlike Path.is_file, without an error for a text that is no name of a file
        kind = "a folder" if os.path.isdir(path) else "not there"
        raise UserError(
            f"{name} is {kind}: give a picture or a video, or a text with prompt_kind=text text_model=<model>"
        )


def prompt_kind(config: Prompted) -> str | None:
    """The kind of prompt that the keys of conf/prompt.yaml give: "file", "sketch" or "text"; None: a clip of the data.

    Without prompt_kind, a prompt is a text only where there is a model for it and neither such a file nor likeness to
    a file's name: a misspelt name is never drawn. Raises UserError for invalid values, before anything is loaded.
    """
    prompt, kind, model = config.prompt, config.prompt_kind, config.text_model
    if prompt is None:
        if kind == "auto":
            return None
        raise UserError(f"prompt_kind={kind} needs a prompt: add prompt={'...' if kind == 'text' else 'drawing.png'}")
    prompt = str(prompt)
    if kind == "auto" and model is not None and not os.path.isfile(prompt) and not LIKE_A_FILE.search(prompt):
        kind = "text"
    if kind == "text":
        require_text(prompt)
        if model is None:
            raise UserError(
                "a text prompt needs a model that draws it: text_model=<folder or name>; see docs/prompts.md"
            )
        return kind
    require_file(Path(prompt), f"prompt={prompt}")
    return "file" if kind == "auto" else kind


class PromptedWorld(Protocol):
    """What a prompter asks of a world (`genie.world.WorldModel`): size and rate of its frames, its configuration."""

    image_size: tuple[int, int]
    fps: float
    config: dict[str, Any]
    device: torch.device


class Prompter:
    """Prompts for one world: frames float [T, 3, H, W] in [0, 1], multiples of 1/255.

    Files are paths or their content; `name` is used in messages. The palette and the text model are loaded on first
    use. Every method raises UserError, in one line, for an invalid prompt.
    """

    def __init__(self, config: GenerateConfig | PlayConfig, world: PromptedWorld) -> None:
        self.config, self.world = config, world
        self.fit = config.prompt_fit or usual_fit(world.config)

    def given(self) -> Tensor | None:
        """The prompt of the configuration; None: a clip of the data."""
        kind, prompt = prompt_kind(self.config), str(self.config.prompt)
        if kind == "text":
            return self.text(prompt, self.config.seed)
        if kind is None:
            return None
        return (self.sketch if kind == "sketch" else self.file)(Path(prompt), f"prompt={prompt}")

    def file(self, source: Path | bytes, name: str) -> Tensor:
        """The prompt of a picture or a video."""
        length = self.config.prompt_frames
        return read_prompt(source, name, self.world.image_size, length, self.world.fps, self.fit)

    def sketch(self, source: Path | bytes, name: str) -> Tensor:
        """The prompt of a drawing: one frame."""
        from genie.prompts.sketch import draw_sketch

        sketches = read_pictures(source, name, 1, self.world.fps)
        if sketches is None:
            raise UserError(f"{name} is no picture that can be read: a sketch is one picture")
        return to_frames([draw_sketch(sketches[0], name, self.palette, self.fit)])

    def text(self, text: str, seed: int) -> Tensor:
        """The prompt of a text: one frame."""
        picture = self.text_to_image(require_text(text), self.world.image_size, seed)
        return to_frames([fit_picture(picture, self.world.image_size, self.fit)])

    @cached_property
    def palette(self) -> "Palette":
        from genie.prompts.sketch import palette_of_data, palette_of_names

        if self.config.prompt_palette is not None:
            return palette_of_names(self.config.prompt_palette, self.world.image_size)
        if "data" not in self.world.config:
            raise UserError("this world does not know the data it was trained on: a sketch needs prompt_palette=")
        return palette_of_data(self.world.config["data"], self.world.image_size)

    @cached_property
    def text_to_image(self) -> TextToImage | None:
        """The model that draws texts; None where text_model is not given."""
        if self.config.text_model is None:
            return None
        group = self.config.text_to_image
        return load_text_to_image(group if isinstance(group, dict) else group.plain(), self.world.device)
