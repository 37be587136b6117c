"""Clips of episodes: T frames or states at a stride, with the actions, rewards and ends in them.

Clips may reach beyond the end of an episode, into the absorbing state of a Markov decision process (Sutton and Barto,
section 3.4): nothing moves, rewards are 0 and every step is terminal. A world model whose clips all lie inside episodes
never sees an end near the beginning of a clip, and one that imagines from a short context then never ends an episode.

Dimension letters: `T` frames of a clip, `C H W` channels and pixels, `n` numbers of a state, `A` of an action,
`O` objects, `E` episodes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.frame_reader import FrameReader, episodes_at
from data_modules.worker_loader import DamagedData, DamageLog
from genie.common.random import fold_in

if TYPE_CHECKING:
    from data_modules.rare_clips import RareClips

REPLACEMENTS = 20  # clips that are tried instead of one that cannot be read


class Clip(TypedDict, total=False):
    """A clip, or with a dimension B in front of each of its entries a batch of them. Entries that the data do not have
    are absent."""

    frames: Tensor  # uint8 [T, C, H, W]
    states: Tensor  # float32 [T, n], in the environment's own units
    actions: Tensor  # int64 [T], or float32 [T, A] in [-1, 1]: taken on seeing frame t, of a stride the first
    rewards: Tensor  # float32 [T], from frame t to the next one of the clip: of a stride their sum
    terminals: Tensor  # bool [T], likewise: whether one of the steps was terminal
    objects: Tensor  # float32 [T, O, 2], (x, y) in pixels of the clip's frames, NaN when absent
    index: Tensor  # int64 [], number of the clip, to name it
    row: Tensor  # int64 [], its first row of the file
    seed: Tensor  # int64 [], fold_in(seed, epoch, index), for all randomness about this sample
    fps: Tensor  # float32 [], frames of the clip per second
    weights: Tensor  # float32 [T], of steps, and …
    clip_weight: Tensor  # float32 [], … of the whole clip, where `RareClips` draws some more often than others


def ended(reader: FrameReader, episodes: np.ndarray) -> np.ndarray:
    """int64 [E]: 1 where the last step of an episode [E, 2] was terminal, 0 where it was cut or nothing says."""
    if "terminals" not in reader.columns:
        return np.zeros(len(episodes), dtype=np.int64)
    over = reader.column("terminals", 0, reader.num_frames)
    return (over[episodes[:, 1] - 2] | over[episodes[:, 1] - 1]).astype(np.int64)


def after_end(name: str, rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` of a column, the last ones of an episode, and `count` after them: observations repeat, actions and rewards
    are 0, and every step is terminal."""
    if count <= 0:
        return rows
    after = np.repeat(rows[-1:], count, axis=0)
    if name in ("actions", "rewards"):
        after[:] = 0
    elif name == "terminals":
        after[:], rows = True, np.concatenate([rows[:-1], [True]])  # the step from the last frame, too
    return np.concatenate([rows, after])


class ClipDataset(Dataset):
    """All clips of the given episodes, or at most `max_clips` evenly spaced ones that do not overlap.

    `episodes` int64 [E, 2]: first row and one past the last; a clip never leaves its episode; `too_short` counts the
    episodes that are shorter than a clip. `dataset[index]` or `dataset[epoch, index]` is a `Clip`. The last
    frame of an episode holds action 0 and reward 0.

    on_error: "raise" the reader's DamagedData, or "skip": a clip that cannot be read is replaced by another, which
    (seed, epoch, index) decide, and counted in `damage`.
    `augmentation`: None, or a function applied to every clip.
    `rare`: None, or `RareClips`, which draws other clips in place of some, and adds `weights` and `clip_weight`.
    `tails`: of clips that do not overlap, the last one of an episode ends with it, and may overlap the one before.
    `past_end`: frames of a clip that may lie after the end of an episode whose last step was terminal.
    """

    def __init__(
        self,
        reader: FrameReader,
        episodes: np.ndarray,
        num_frames: int,
        stride: int,
        fps: float,
        seed: int,
        max_clips: int | None = None,
        on_error: str = "raise",
        tails: bool = False,
        past_end: int = 0,
    ):
        self.reader, self.num_frames, self.stride, self.seed = reader, num_frames, stride, seed
        self.on_error, self.damage = on_error, DamageLog(reader.recordings)
        self.fps = torch.tensor(fps / stride, dtype=torch.float32)
        self.span = (num_frames - 1) * stride + 1  # rows from the first to the last frame of a clip
        reach = episodes[:, 1].copy()  # one past the last frame of the last clip
        if past_end:
            reach += stride * past_end * ended(reader, episodes)
        fits = reach - episodes[:, 0] >= self.span
        self.episodes, reach = episodes[fits], reach[fits]
        self.too_short = int((~fits).sum())
        self.step = 1 if max_clips is None else self.span
        left_over = self.step - 1 if tails else 0
        counts = (reach - self.episodes[:, 0] - self.span + left_over) // self.step + 1
        self.last = reach - self.span  # where the last clip of each episode may begin
        self.offsets = np.concatenate([[0], np.cumsum(counts)])  # clips before each episode
        self.num_clips = int(self.offsets[-1])
        self.augmentation: Callable[[Clip], Clip] | None = None
        self.rare: RareClips | None = None
        self.chosen = None
        if max_clips is not None and self.num_clips > max_clips:
            self.chosen = np.arange(max_clips) * self.num_clips // max_clips
            self.num_clips = max_clips

    def __len__(self) -> int:
        return self.num_clips

    def location(self, index: int) -> tuple[int, int]:
        """(first row of clip `index`, one past the last row of its episode)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index %= len(self)
        clip = index if self.chosen is None else int(self.chosen[index])
        episode = int(np.searchsorted(self.offsets, clip, side="right")) - 1
        first, end = self.episodes[episode]
        return int(min(first + (clip - self.offsets[episode]) * self.step, self.last[episode])), int(end)

    def __getitem__(self, key: int | tuple[int, int]) -> Clip:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        start, end, frames = self._read(epoch, index)
        stop = start + self.span
        clip: Clip = {}
        if frames is not None:
            clip["frames"] = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        for name in self.reader.columns:
            rows = self._column(name, start, min(stop, end), end)
            clip[name] = torch.from_numpy(after_end(name, rows, self.num_frames - len(rows)))
        clip["index"] = torch.tensor(index, dtype=torch.int64)
        clip["row"] = torch.tensor(start, dtype=torch.int64)
        clip["seed"] = torch.tensor(fold_in(self.seed, epoch, index), dtype=torch.int64)
        clip["fps"] = self.fps
        if self.rare is not None:
            weights, whole = self.rare.of(start)
            clip |= {"weights": torch.from_numpy(weights), "clip_weight": torch.tensor(whole, dtype=torch.float32)}
        return clip if self.augmentation is None else self.augmentation(clip)

    def _read(self, epoch: int, index: int) -> tuple[int, int, np.ndarray | None]:
        """`location` and frames [T, H, W, C] (None: states alone) of clip `index`, or of its first replacement that can
        be read."""
        last = None
        for attempt in range(1 + REPLACEMENTS):
            drawn = self.rare.start(epoch, index) if self.rare is not None and not attempt else None
            another = fold_in(self.seed, epoch, index, attempt) % len(self) if attempt else index
            start, end = drawn or self.location(another)
            try:
                return start, end, self._frames(start, end)
            except DamagedData as error:
                if self.on_error == "raise":
                    raise
                self.damage.add(int(self.reader.recordings[episodes_at(self.reader, start)]), error)
                last = error
        raise DamagedData(f"{1 + REPLACEMENTS} clips one after the other cannot be read, the last: {last}")

    def _frames(self, start: int, end: int) -> np.ndarray | None:
        if not self.reader.image_size:
            return None
        frames = self.reader.frames(start, min(start + self.span, end), self.stride)
        return after_end("frames", frames, self.num_frames - len(frames))

    def _column(self, name: str, start: int, stop: int, end: int) -> np.ndarray:
        if name not in ("rewards", "terminals") or self.stride == 1:
            return self.reader.column(name, start, stop)[:: self.stride]
        window = self.reader.column(name, start, min(start + self.num_frames * self.stride, end))
        padded = np.zeros(self.num_frames * self.stride, dtype=window.dtype)
        padded[: len(window)] = window
        skipped = padded.reshape(self.num_frames, self.stride)
        found = skipped.sum(1, dtype=np.float32) if name == "rewards" else np.any(skipped, 1)
        return found[: -(-(end - start) // self.stride)]  # after the end there is nothing to add up
