"""Prompts from the validation split of the data that a run was trained on."""

from torch import Tensor

from data_modules.clip_data import ClipData
from genie.common.errors import UserError


def open_data(data: dict, image_size: tuple[int, int], num_frames: int) -> ClipData:
    """The data of a run, opened; `data`: the group of its configuration. Raises UserError where they are missing."""
    settings = {"num_frames": num_frames, "batch_size": 1, "val_clips": None, "num_workers": 0, "in_memory": False}
    settings |= {"augmentation": None, "min_quality": None}  # of training alone, and their files may be gone
    module = ClipData(**{**data, **settings, "image_size": image_size})
    module.own_length = False
    module.setup()
    return module


class PromptClips:
    """The validation clips of a run's data, `data` as in `open_data`.

    `clips[index]`: frames [T, 3, H, W] in [0, 1] and actions int64 [T] (None: not recorded). `info`: of the data set.
    Raises UserError for missing data, which begins with `why` they are opened, and for an index out of range.
    """

    def __init__(
        self,
        data: dict,
        image_size: tuple[int, int],
        num_frames: int,
        why: str = "without prompt= a frame of the data set is taken, and ",
    ) -> None:
        try:
            module = open_data(data, image_size, num_frames)
        except UserError as error:
            raise UserError(f"{why}{error}") from error
        self.clips, self.info = module.val_dataset, module.info

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        if not 0 <= index < len(self):
            raise UserError(f"prompt_clip={index}: the validation data have {len(self)} clips, from 0")
        clip = self.clips[index]
        return clip["frames"].float() / 255, clip.get("actions")
