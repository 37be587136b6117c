"""Clips of the data that a run was trained on.

Prompts out of the data that a run was trained on: clips of its validation split.
"""

from torch import Tensor

from data_modules.clip_data import ClipData
from genie.common.errors import UserError


def open_data(data: dict, image_size: tuple[int, int], num_frames: int) -> ClipData:
    """The data of a run, `data` being the group of that name in its configuration, ready to be read.

    Raises UserError where they are not there.
    """
    settings = {"num_frames": num_frames, "batch_size": 1, "val_clips": None, "num_workers": 0, "in_memory": False}
    settings |= {"augmentation": None, "min_quality": None}  # of training alone: what they need may be gone
    module = ClipData(**{**data, **settings, "image_size": image_size})
    module.own_length = False
    module.setup()
    return module


def data_prompt(data: dict, image_size: tuple[int, int], num_frames: int, index: int) -> tuple[Tensor, Tensor | None]:
    """Frames [T, 3, H, W] in [0, 1] of a validation clip, and its actions int64 [T] (None: not recorded).

    `data` as in `open_data`. Raises UserError where there is no such clip.
    """
    return PromptClips(data, image_size, num_frames)[index]


class PromptClips:
    """The validation clips of a run's data: `clips[index]` as `data_prompt` gives it.

    `info`: what is known of the data set. Raises UserError where the data is not there.
    """

    def __init__(self, data: dict, image_size: tuple[int, int], num_frames: int) -> None:
        try:
            module = open_data(data, image_size, num_frames)
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
