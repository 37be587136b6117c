"""Augmentation of training clips by random changes, the same in all frames of a clip.

The change of a clip is a function of its seed alone, that is of (seed, epoch, index): the same for any number of
workers and after a resume. Each kind of change has a draw of its own: switching one on leaves the others unchanged.

Dimension letters: `T` frames, `C H W` channels and pixels, `O` objects.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data_modules.clips import Clip
from data_modules.data_info import DataInfo
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in

STRENGTHS = ("crop", "shift", "brightness", "contrast", "saturation", "hue")
FLIPS = {"horizontal": -1, "vertical": -2}  # the axis of frames that is mirrored
DRAWS = ("size", "top", "left", "down", "right", "flip", "brightness", "contrast", "saturation", "hue")
GREY = torch.tensor([0.299, 0.587, 0.114])  # luminance of red, green and blue
STEPS = 1024  # colour factors are multiples of 1/STEPS: sums are then exact, in any order and on any machine


class Augmentation:
    """Callable that changes a clip of `ClipDataset`. `settings`: keys of `data.augmentation`; missing ones are off."""

    def __init__(self, settings: dict[str, Any] | None):
        settings = settings or {}
        self.strength = {name: settings.get(name, 0) for name in STRENGTHS}
        self.flip, self.flip_actions = settings.get("flip"), settings.get("flip_actions")
        self.swaps: list[tuple[int, int]] = []
        self.active = self.flip is not None or any(self.strength.values())

    def know(self, info: DataInfo) -> None:
        """Finds the actions that a flip swaps. Raises UserError where they have to be given and are not, or are
        invalid, and for data without frames."""
        if info.image_size is None:
            raise UserError("data.augmentation changes pictures: leave it out for data that are states")
        if self.flip is not None and info.action_size is not None:
            raise UserError(
                f"data.augmentation.flip={self.flip}: how a mirror changes actions that are numbers is not known"
            )
        if self.flip is None or info.num_actions is None:
            return
        known = " ".join(info.action_meanings or map(str, range(info.num_actions)))
        if self.flip_actions is None:
            raise UserError(
                f"data.augmentation.flip={self.flip} mirrors recorded actions too ({known}): give those that change "
                "places, data.augmentation.flip_actions='{one: other}', or {} where none does"
            )
        self.swaps = swapped(self.flip_actions, info.action_meanings, info.num_actions)

    def __call__(self, clip: Clip) -> Clip:
        generator = torch.Generator().manual_seed(fold_in(int(clip["seed"]), Stream.AUGMENTATION))
        drawn = torch.rand(len(DRAWS), generator=generator, dtype=torch.float64).tolist()
        draw: dict[str, float] = dict(zip(DRAWS, drawn, strict=True))
        clip = clip.copy()
        if self.strength["crop"]:
            crop(clip, 1 - self.strength["crop"] * draw["size"], draw["top"], draw["left"])
        if self.strength["shift"]:
            height, width = clip["frames"].shape[-2:]
            most = self.strength["shift"]
            shift(clip, *(round((2 * draw[to] - 1) * most * n) for to, n in (("down", height), ("right", width))))
        if self.flip and draw["flip"] < 0.5:
            flip(clip, self.flip, self.swaps)
        turns = {name: (2 * draw[name] - 1) * self.strength[name] for name in DRAWS[-4:]}
        if any(turns.values()):
            clip["frames"] = recolour(clip["frames"], **turns)
        return clip


def swapped(given: Any, names: list[str] | None, count: int) -> list[tuple[int, int]]:
    """The pairs of ids that `given`, {one: other} by name or id, swaps. Raises UserError for anything but swaps."""

    def number(action: Any) -> int:
        found = names.index(action) if names and action in names else action
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < count:
            there = ", ".join(names or []) or f"0 … {count - 1}"
            raise UserError(f"data.augmentation.flip_actions: there is no action {action!r}, only {there}")
        return found

    other: dict[int, int] = {}
    for pair in given.items():
        one, two = map(number, pair)
        if other.setdefault(one, two) != two or other.setdefault(two, one) != one:
            raise UserError(f"data.augmentation.flip_actions={given}: a mirror swaps two actions, or leaves one alone")
    return [(one, two) for one, two in other.items() if one < two]


def crop(clip: Clip, share: float, top: float, left: float) -> None:
    """Enlarges a part, `share` of height and width, to the full size; `top`, `left` in [0, 1): its position."""
    frames = clip["frames"]
    height, width = frames.shape[-2:]
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    y, x = int(top * (height - rows + 1)), int(left * (width - columns + 1))
    part = frames[..., y : y + rows, x : x + columns]
    clip["frames"] = F.interpolate(part, size=(height, width), mode="bilinear")
    if "objects" in clip:  # the edge of a picture is half a pixel outside its first centre
        scale = torch.tensor([width / columns, height / rows])
        _place(clip, (clip["objects"] + 0.5 - torch.tensor([x, y])) * scale - 0.5)


def shift(clip: Clip, down: int, right: int) -> None:
    """Moves the picture; what comes into view repeats its edge."""
    height, width = clip["frames"].shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    clip["frames"] = clip["frames"].index_select(-2, rows).index_select(-1, columns)
    if "objects" in clip:
        _place(clip, clip["objects"] + torch.tensor([right, down]))


def flip(clip: Clip, direction: str, swaps: list[tuple[int, int]]) -> None:
    """Mirrors the picture, and swaps the actions `swaps`."""
    axis, frames = FLIPS[direction], clip["frames"]
    clip["frames"] = frames.flip(axis)
    if "objects" in clip:
        mirrored = clip["objects"].clone()
        which = -1 - axis  # of (x, y), against (…, H, W)
        mirrored[..., which] = frames.shape[axis] - 1 - mirrored[..., which]
        clip["objects"] = mirrored
    if swaps:
        actions = clip["actions"].clone()
        for one, two in swaps:
            actions[clip["actions"] == one] = two
            actions[clip["actions"] == two] = one
        clip["actions"] = actions


def recolour(frames: Tensor, brightness: float, contrast: float, saturation: float, hue: float) -> Tensor:
    """uint8 [T, 3, H, W] with one linear map of (red, green, blue) applied to the whole clip.

    brightness, contrast and saturation: 0.2 is a fifth more, -0.2 a fifth less, contrast about the mean brightness of
    the clip; hue: turns about the grey axis, 0.5 is the opposite colour. Grey stays grey.
    """
    angle = 2 * math.pi * hue
    around = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * torch.eye(3) + (1 - math.cos(angle)) / 3 + math.sin(angle) * around
    vivid = (1 + saturation) * torch.eye(3) - saturation * GREY
    pixels = frames.shape[0] * frames.shape[2] * frames.shape[3]
    mean = float(frames.sum(dim=(0, 2, 3)).double() @ GREY.double()) / pixels
    matrix = (1 + brightness) * (1 + contrast) * vivid @ turn
    offset = -(1 + brightness) * contrast * mean
    matrix, offset = (STEPS * matrix).round() / STEPS, round(STEPS * offset) / STEPS
    changed = matrix @ frames.flatten(2).float() + (offset + 0.5)
    return changed.floor_().clamp_(0, 255).byte().view(frames.shape)


def _place(clip: Clip, objects: Tensor) -> None:
    """Sets the positions (x, y) [T, O, 2]; an object outside the picture is absent."""
    height, width = clip["frames"].shape[-2:]
    inside = ((objects >= -0.5) & (objects < torch.tensor([width, height]) - 0.5)).all(-1, keepdim=True)
    clip["objects"] = torch.where(inside, objects, torch.nan)
