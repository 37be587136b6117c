"""Long videos of the real game, under random actions and as it was recorded: what those of a world are held against.

Dimension letters: `N` videos, `t` frames of a stretch, `T` frames of a video, `O` objects, `C H W` channels and pixels,
`A` actions or their numbers.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from data_modules.clips import ClipDataset
from data_modules.environments.episode_replay import EpisodeReplay
from data_modules.frame_reader import episodes_at
from data_modules.worker_loader import DamagedData
from genie.common.random import Stream, fold_in
from genie.datasets.replay import Recorded
from genie.evaluation.clips import Clips
from genie.evaluation.long_videos import STRETCH, LongVideos, Window, held_actions, watch
from genie.evaluation.simulator import OTHER_FRAMES
from genie.evaluation.subject import LeftOut
from genie.metrics.object_detector import ObjectDetector


def played_videos(
    recorded: Recorded, prompts: Clips, count: int, hold: float, seeds: Tensor,
    detector: ObjectDetector | None, windows: list[Window],
) -> LongVideos:  # fmt: skip
    """What the real environment shows for `count` frames after each of N prompts, whose last frame it is brought to,
    under held random actions of its own from the `seeds` int64 [N]. Where a game is over another one begins.

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
    given = _as_videos(dataset.reader.resize(_brought_to(recorded, prompts, index)[None]))[0, 0]
    if not torch.equal(given, prompts.frames[index, -1]):
        raise LeftOut(OTHER_FRAMES)
    for number, action in enumerate(actions):
        reward = 0.0
        for _ in range(dataset.stride):  # an action of a clip is held for as many decisions
            frame, more, terminal, truncated = environment.step(action)
            reward += more
            if terminal or truncated:
                frame = environment.reset(fold_in(seed, Stream.FURTHER_GAME, number) % 2**31)
                break
        rewards.append(reward)
        frames.append(frame)
        if len(frames) == STRETCH or number + 1 == len(actions):
            yield _as_videos(dataset.reader.resize(np.stack(frames)))
            frames.clear()


def _brought_to(recorded: Recorded, prompts: Clips, index: int) -> np.ndarray:
    """The last frame of a prompt, uint8 [H, W, 3] in the size of the recording, with the environment brought there."""
    dataset, length = prompts.source, prompts.frames.shape[1]
    row, end = dataset.location(index)
    episode = int(episodes_at(dataset.reader, row))
    start = int(dataset.reader.episodes[episode, 0])
    actions = dataset.reader.column("actions", start, end)
    replay = EpisodeReplay(recorded.environment, int(recorded.seeds[episode]), actions)
    at = row - start + (length - 1) * dataset.stride
    if at == 0:
        return replay.first
    replay.go_to(at - 1)
    return recorded.environment.step(actions[at - 1])[0]


def recorded_videos(dataset: ClipDataset, detector: ObjectDetector | None, most: int) -> LongVideos:
    """The episodes of a data set, at most so many frames of them; those that cannot be read are not among them."""
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
            found.rewards.append(
                torch.from_numpy(np.concatenate([[0], sums[:-1]]))
            )  # what leads to a frame comes with it
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
