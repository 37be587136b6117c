"""Held-out clips for evaluation, and application of models to clips longer than those they were trained on.

Dimension letters: `N` clips, `B` batch, `T` frames of a clip, `C H W` channels and pixels, `O` objects, `A` numbers of
an action, `n` numbers of a state.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_modules.clip_data import ClipData
from data_modules.clips import ClipDataset
from data_modules.data_info import DataInfo
from genie.common.errors import UserError
from genie.common.settings.evaluation import EvaluateConfig

COLUMNS: tuple[str, ...] = ("frames", "actions", "objects", "states", "rewards", "terminals")  # of a clip


@dataclass
class Clips:
    """Clips of a data set; None for a column that the data do not have.

    Attributes:
        frames: uint8 [N, T, C, H, W].
        actions: int64 [N, T] or float [N, T, A].
        objects: positions, float [N, T, O, 2].
        source: the data set that all of them were read from; None for a selection.
        states: float [N, T, n].
        rewards: float [N, T].
        terminals: bool [N, T].
    """

    frames: Tensor | None
    actions: Tensor | None
    objects: Tensor | None
    info: DataInfo
    batch_size: int
    source: ClipDataset | None = None
    states: Tensor | None = None
    rewards: Tensor | None = None
    terminals: Tensor | None = None

    @property
    def has_objects(self) -> bool:
        """Whether any object's position is recorded."""
        return self.objects is not None and bool(self.objects.isfinite().any())

    @property
    def object_names(self) -> list[str]:
        """A name for each object."""
        if self.info.object_names:
            return list(self.info.object_names)
        assert self.objects is not None
        return [f"object_{index}" for index in range(self.objects.shape[2])]

    @property
    def background(self) -> Tensor:
        """The per-pixel median of the training frames."""
        return torch.from_numpy(self.info.background).float() / 255

    def __len__(self) -> int:
        observed = self.states if self.frames is None else self.frames
        assert observed is not None  # all data have one of them
        return len(observed)

    def batches(self) -> Iterator["Clips"]:
        """The clips in batches."""
        for start in range(0, len(self), self.batch_size):
            yield self.select(torch.arange(start, min(start + self.batch_size, len(self))))

    def numbered_batches(self) -> Iterator[tuple[range, "Clips"]]:
        """The clips in batches, with their numbers."""
        starts = range(0, len(self), self.batch_size)
        for start, batch in zip(starts, self.batches(), strict=True):
            yield range(start, start + len(batch)), batch

    def select(self, index: Tensor) -> "Clips":
        """The clips number `index` int64 [N']."""
        parts = {name: None if (part := getattr(self, name)) is None else part[index] for name in COLUMNS}
        return Clips(**parts, info=self.info, batch_size=self.batch_size)

    def sample(self, count: int) -> "Clips":
        """At most `count` clips, evenly spaced."""
        count = min(count, len(self))
        return self.select(torch.arange(count) * len(self) // count)

    def floats(self) -> Tensor:
        """The frames [N, T, C, H, W] in [0, 1]."""
        assert self.frames is not None
        return self.frames.float() / 255

    @property
    def observations(self) -> Tensor:
        """Observations of a world: frames [N, T, C, H, W] in [0, 1], or states [N, T, n]."""
        if self.frames is not None:
            return self.floats()
        assert self.states is not None
        return self.states


def load_clips(
    data: dict, root: str | None, split: str, num_clips: int, num_frames: int, batch_size: int, tails: bool = False
) -> Clips:
    """At most `num_clips` clips of `num_frames` frames, evenly spaced over `split`: "val", "test" or "train".

    `data` is the group of that name in the run's configuration; `root`, if given, replaces its folder. `tails`: with
    clips at the ends of episodes (`ClipDataset`). Raises UserError where the data are missing or have no such clip.
    """
    settings = {"num_frames": num_frames, "batch_size": 1, "val_clips": num_clips, "num_workers": 0, "past_end": 0}
    if root is not None:
        settings |= {"root": root, "min_quality": None, "augmentation": None}  # they are of the run's own data
    module = ClipData(**{**data, **settings, "in_memory": False})
    module.own_length = False
    try:
        module.setup()
    except UserError as error:
        raise UserError(
            f"{error} (a clip is horizon + prompt_frames = {num_frames} frames; data_root= says where)"
        ) from error
    if split not in module.datasets:
        raise UserError(f"split={split}: {module.root} has no such split, only {', '.join(module.datasets)}")
    of_all = tails or split == "train"
    dataset = module.clips(split, num_frames, num_clips, tails) if of_all else module.datasets[split]
    assert module.info is not None  # since setup
    return read_clips(dataset, module.info, batch_size)


def held_out(config: EvaluateConfig, data: dict[str, Any], count: int, length: int, tails: bool = False) -> Clips:
    """`load_clips` with root, split and batch size of the configuration `evaluate`."""
    return load_clips(data, config.data_root, config.split, count, length, config.batch_size, tails)


def read_clips(dataset: ClipDataset, info: DataInfo, batch_size: int) -> Clips:
    """All clips of a dataset."""
    samples = [dataset[index] for index in range(len(dataset))]
    columns = {name: torch.stack([sample[name] for sample in samples]) for name in COLUMNS if name in samples[0]}
    return Clips(**dict.fromkeys(COLUMNS) | columns, info=info, batch_size=batch_size, source=dataset)


def in_windows(function: Callable[[Tensor], tuple[Tensor, ...]], frames: Tensor, window: int) -> tuple[Tensor, ...]:
    """`function` over clips longer than its model's window: every frame sees at most `window`-1 frames before it.

    function: frames [B, t, …], t ≤ window → tensors [B, s, …] of s ≤ t steps, aligned at the end. The first window
    gives all its steps, each further frame one. Returns the tensors for all of frames [B, T, …].
    """
    parts = [function(frames[:, :window])]
    for end in range(window + 1, frames.shape[1] + 1):
        parts.append(tuple(part[:, -1:] for part in function(frames[:, end - window : end])))
    return tuple(torch.cat(pieces, dim=1) for pieces in zip(*parts, strict=True))


def in_segments(function: Callable[[Tensor], tuple[Tensor, ...]], frames: Tensor, window: int) -> tuple[Tensor, ...]:
    """`function` on stretches of at most `window` frames, one after the other: each forgets the one before."""
    parts = [function(part) for part in frames.split(window, dim=1)]
    return tuple(torch.cat(pieces, dim=1) for pieces in zip(*parts, strict=True))
