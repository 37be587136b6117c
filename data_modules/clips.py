"""Clips of episodes.

What lies behind the end of an episode: nothing moves, nothing is earned, and it is over again.

A world whose clips all lie inside episodes never sees an end near the beginning of a clip: an episode that goes on for
a clip's length is one that did not end yet. When it then imagines from a short past, nothing ever ends. Clips that may
reach beyond the end are without that bias. The state behind it is the absorbing one of a Markov decision process
(Sutton and Barto, section 3.4).

Clips: T frames, or states, at a stride out of one episode, with what was done and what happened in them.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.frame_reader import FrameReader, episodes_at
from data_modules.worker_loader import DamagedData, DamageLog
from genie.common.random import fold_in


def ended(reader: FrameReader, episodes: np.ndarray) -> np.ndarray:
    """int64 [E]: 1 where the last step of an episode [E, 2] was terminal, 0 where its time was up or nothing says."""
    if "terminals" not in reader.columns:
        return np.zeros(len(episodes), dtype=np.int64)
    over = reader.column("terminals", 0, reader.num_frames)
    return (over[episodes[:, 1] - 2] | over[episodes[:, 1] - 1]).astype(np.int64)


def after_end(name: str, rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` of a column, the last ones of an episode, and `count` behind them: what is seen stands still, actions and
    rewards are 0, and every step is terminal."""
    if count <= 0:
        return rows
    behind = np.repeat(rows[-1:], count, axis=0)
    if name in ("actions", "rewards"):
        behind[:] = 0
    elif name == "terminals":
        behind[:], rows = True, np.concatenate([rows[:-1], [True]])  # the step from the last frame, too
    return np.concatenate([rows, behind])


REPLACEMENTS = 20  # clips that are tried instead of one that cannot be read


class RareDraws(Protocol):
    """What `ClipDataset.rare` is (`rare_clips.py`)."""

    def start(self, epoch: int, index: int) -> tuple[int, int] | None: ...

    def of(self, start: int) -> tuple[np.ndarray, float]: ...


class ClipDataset(Dataset):
    """All clips of the given episodes, or at most `max_clips` evenly spaced ones that do not overlap.

    `episodes` int64 [E, 2]: first and one past the last frame; a clip never leaves its episode, and those that are
    shorter than a clip give none: `too_short` counts them. `dataset[index]` or `dataset[epoch, index]` is a dictionary:

        frames     uint8   [T, C, H, W]
        states     float32 [T, n]       the numbers that the environment showed
        actions    int64   [T]          taken on seeing frame t; with a stride, the first of the skipped ones
                or float32 [T, A]       in [-1, 1], where actions are numbers
        rewards    float32 [T]          from frame t to the next one of the clip: with a stride, their sum
        terminals  bool    [T]          likewise: whether one of them was terminal
        objects    float32 [T, O, 2]    (x, y) in pixels of the clip's frames, NaN when absent
        index      int64   []           number of the clip, to name it
        row        int64   []           its first row of the file
        seed       int64   []           mix(seed, epoch, index), for all randomness about this sample
        fps        float32 []           frames of the clip per second

    What the file does not have is absent; there are frames or states. The last frame of an episode holds action 0 and
    reward 0.

    on_error: "raise" the reader's DamagedData, or "skip": another clip, which (seed, epoch, index) decide, takes the
    place of one that cannot be read, and `damage` counts it.
    `augmentation`, where it is set, makes another clip of the whole one (`augmentation.py`).
    `rare`, where it is set, draws other clips in the place of some, and gives all of them `weights` float32 [T] and
    `clip_weight` float32 [] (`rare_clips.py`).
    `tails`: of clips that do not overlap, the last one of an episode ends with it, and may overlap the one before.
    `past_end`: frames of a clip that may lie behind the end of an episode that was over (`ending.py`).
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
        self.span = (num_frames - 1) * stride + 1  # frames of the file from the first to the last of a clip
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
        self.augmentation: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
        self.rare: RareDraws | None = None
        self.chosen = None
        if max_clips is not None and self.num_clips > max_clips:
            self.chosen = np.arange(max_clips) * self.num_clips // max_clips
            self.num_clips = max_clips

    def __len__(self) -> int:
        return self.num_clips

    def location(self, index: int) -> tuple[int, int]:
        """(first frame of clip `index`, one past the last frame of its episode), as rows of the file."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index %= len(self)
        clip = index if self.chosen is None else int(self.chosen[index])
        episode = int(np.searchsorted(self.offsets, clip, side="right")) - 1
        first, end = self.episodes[episode]
        return int(min(first + (clip - self.offsets[episode]) * self.step, self.last[episode])), int(end)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        start, end, frames = self._read(epoch, index)
        stop = start + self.span
        clip = {}
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
        """`location` and frames [T, H, W, C] of clip `index`, or of the first of its replacements that can be read;
        None in the place of frames where there are states alone."""
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
        found = skipped.sum(1, dtype=np.float32) if name == "rewards" else skipped.any(1)
        return found[: -(-(end - start) // self.stride)]  # behind the end there is nothing to add up
