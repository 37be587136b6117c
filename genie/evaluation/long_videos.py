"""Long videos, generated or real: frames are processed as a stream, and only measurements of them are kept.

1,000 frames of 64 worlds take gigabytes, so videos come as stretches of frames, and only a few windows are stored.

Dimension letters: `N` videos, `t` frames of a stretch, `T` frames of a video, `P` given ones, `O` objects, `C H W`
channels and pixels, `A` actions or their numbers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from data_modules.clips import ClipDataset
from data_modules.environments.recording_policies import HeldRandom, HeldUniform
from data_modules.held_out_clips import Clips
from data_modules.worker_loader import DamagedData
from genie.common.random import Stream, fold_in
from genie.datasets.replay import Recorded, brought_to, held_step
from genie.evaluation.environment_replay import OTHER_FRAMES
from genie.evaluation.trained_run import LeftOut
from genie.metrics.long_videos import Track, locate
from genie.metrics.object_detector import ObjectDetector
from genie.world.protocol import World

STRETCH = 512  # frames in memory, of all videos together
Window = tuple[int, int]  # first frame, frames


@dataclass
class LongVideos:
    """Measurements of N videos, which may differ in length.

    Attributes:
        tracks: of their objects; none where the data record no positions.
        changes: float [T-1] each, mean absolute differences of frames in [0, 1] from the previous ones.
        rewards: float [T] each, received with the frames, where known.
        windows: uint8 [N, w, C, H, W] each.
    """

    tracks: list[Track] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    windows: dict[Window, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return sum(len(one) + 1 for one in self.changes)

    def append(self, other: "LongVideos") -> None:
        for name in ("tracks", "changes", "rewards"):
            getattr(self, name).extend(getattr(other, name))
        for window, frames in other.windows.items():
            before = self.windows.get(window)
            self.windows[window] = frames if before is None else torch.cat([before, frames])


def watch(
    stretches: Iterable[Tensor], detector: ObjectDetector | None = None, windows: Iterable[Window] = ()
) -> LongVideos:
    """Measurements of N videos that come as stretches uint8 [N, t, C, H, W]."""
    tracks, changes, kept = [], [], {window: [] for window in windows}
    at, last = 0, None
    for frames in stretches:
        if detector is not None:
            tracks.append(locate(detector, frames))
        joined = (frames if last is None else torch.cat([last, frames], dim=1)).float() / 255
        changes.append(joined.diff(dim=1).abs().flatten(2).mean(-1))
        for (start, length), parts in kept.items():
            parts.append(frames[:, max(0, start - at) : max(0, start + length - at)].clone())
        at, last = at + frames.shape[1], frames[:, -1:]
    whole = [
        Track(torch.cat([part.counts for part in parts]), torch.cat([part.places for part in parts]))
        for parts in zip(*tracks, strict=True)
    ]
    return LongVideos(
        whole, list(torch.cat(changes, dim=1)), [], {window: torch.cat(parts, 1) for window, parts in kept.items()}
    )


def held_actions(space: spaces.Discrete | spaces.Box, count: int, hold: float, seeds: Tensor) -> Tensor:
    """int64 [N, count] or float [N, count, A]: random actions as the recorder holds them, each for a geometric number
    of frames with mean `hold`, those of each video from its own of the seeds int64 [N]."""
    rows = []
    for seed in seeds.tolist():
        rng = np.random.default_rng(fold_in(seed, Stream.HELD_ACTION))
        discrete = isinstance(space, spaces.Discrete)
        policy = HeldRandom(int(space.n), hold, rng) if discrete else HeldUniform(space.shape[0], hold, rng)
        rows.append(np.stack([policy.act(None) for _ in range(count)]))
    return torch.from_numpy(np.stack(rows))


@torch.no_grad()
def imagined_stretches(world: World, prompts: Clips, actions: Tensor, seeds: Tensor) -> Iterator[Tensor]:
    """uint8 [N, t, C, H, W]: continuations of prompts of P frames under `actions` [N, T] or [N, T, A]. No video depends
    on the others."""
    known = world.takes_environment_actions and prompts.actions is not None
    between = prompts.actions[:, :-1].to(world.device) if known else None
    state, frames = world.reset(prompts.floats().to(world.device), between, seeds), []
    for action in actions.to(world.device).unbind(1):
        state, step = world.step(state, action)
        frames.append((step.observation * 255).round().byte().cpu())
        if len(frames) * len(prompts) >= STRETCH:
            yield torch.stack(frames, dim=1)
            frames = []
    if frames:
        yield torch.stack(frames, dim=1)


def played_videos(
    recorded: Recorded, prompts: Clips, count: int, hold: float, seeds: Tensor,
    detector: ObjectDetector | None, windows: list[Window],
) -> LongVideos:  # fmt: skip
    """`count` frames of the real environment after each of N prompts, whose last frame it is brought to, under held
    random actions of its own from the `seeds` int64 [N]. After the end of a game another one begins.

    Raises LeftOut where the environment does not show the prompt.
    """
    actions = held_actions(recorded.environment.action_space, count, hold, seeds).numpy()
    videos = LongVideos()
    for index, seed in enumerate(seeds.tolist()):
        rewards: list[float] = []
        found = watch(_played(recorded, prompts, index, actions[index], seed, rewards), detector, windows)
        found.rewards.append(torch.tensor(rewards))
        videos.append(found)
    return videos


def _played(
    recorded: Recorded, prompts: Clips, index: int, actions: np.ndarray, seed: int, rewards: list[float]
) -> Iterator[Tensor]:
    """uint8 [1, t, C, H, W] after prompt number `index`; the rewards that come with the frames go into `rewards`."""
    dataset, environment, frames = prompts.source, recorded.environment, []
    given = _as_videos(dataset.reader.resize(brought_to(recorded, dataset, index, prompts.frames.shape[1])[None]))[0, 0]
    if not torch.equal(given, prompts.frames[index, -1]):
        raise LeftOut(OTHER_FRAMES)
    for number, action in enumerate(actions):
        frame, reward = held_step(environment, action, dataset.stride, seed, number)
        rewards.append(reward)
        frames.append(frame)
        if len(frames) == STRETCH or number + 1 == len(actions):
            yield _as_videos(dataset.reader.resize(np.stack(frames)))
            frames.clear()


def recorded_videos(dataset: ClipDataset, detector: ObjectDetector | None, most: int) -> LongVideos:
    """The episodes of a data set, at most `most` frames in total, without those that cannot be read."""
    videos, reader = LongVideos(), dataset.reader
    for first, end in dataset.episodes:
        end = min(end, first + (most - videos.frames) * dataset.stride)
        if end - first <= dataset.stride:
            break
        try:
            found = watch(_read(dataset, int(first), int(end)), detector)
        except DamagedData:
            continue
        if "rewards" in reader.columns:
            rewards = reader.column("rewards", int(first), int(end))
            sums = np.add.reduceat(rewards, np.arange(0, len(rewards), dataset.stride))
            found.rewards.append(torch.from_numpy(np.concatenate([[0], sums[:-1]])))  # with the frame they lead to
        videos.append(found)
    return videos


def _read(dataset: ClipDataset, first: int, end: int) -> Iterator[Tensor]:
    for start in range(first, end, STRETCH * dataset.stride):
        stop = min(end, start + STRETCH * dataset.stride)
        yield _as_videos(dataset.reader.frames(start, stop, dataset.stride))


def _as_videos(frames: np.ndarray) -> Tensor:
    """[t, H, W, C] → [1, t, C, H, W]"""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))[None]


def object_field(dataset: ClipDataset, index: int) -> tuple[float, float]:
    """The least and the largest x at which object number `index` is recorded in a data set, in pixels."""
    x = np.concatenate([dataset.reader.column("objects", *map(int, rows))[:, index, 0] for rows in dataset.episodes])
    return float(np.nanmin(x)), float(np.nanmax(x))
