"""Long videos, generated or real, all under the same eyes: frames pass by, and what is measured of them stays.

1,000 frames of 64 worlds are gigabytes, so videos come as stretches of frames, of which only the few windows are kept
that somebody wants to see.

Dimension letters: `N` videos, `t` frames of a stretch, `T` frames of a video, `P` given ones, `C H W` channels and
pixels, `A` actions or their numbers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from data_modules.environments.recording_policies import HeldRandom, HeldUniform
from genie.common.random import Stream, fold_in
from genie.evaluation.clips import Clips
from genie.metrics.long_videos import Track, locate
from genie.metrics.object_detector import ObjectDetector
from genie.world.protocol import World

STRETCH = 512  # frames that are held, of all videos together
Window = tuple[int, int]  # first frame, frames


@dataclass
class LongVideos:
    """Of N videos, which may differ in length: `tracks` of their objects (none where the data record no positions), the
    `changes` float [T-1], mean absolute differences of frames in [0, 1] from the ones before, `rewards` float [T] that
    came with the frames where these are known, and `windows` uint8 [N, w, C, H, W] of those asked for."""

    tracks: list[Track] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    rewards: list[Tensor] = field(default_factory=list)
    windows: dict[Window, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def frames(self) -> int:
        """Of all videos."""
        return sum(len(one) + 1 for one in self.changes)

    def append(self, other: "LongVideos") -> None:
        """Adds further videos."""
        for name in ("tracks", "changes", "rewards"):
            getattr(self, name).extend(getattr(other, name))
        for window, frames in other.windows.items():
            before = self.windows.get(window)
            self.windows[window] = frames if before is None else torch.cat([before, frames])


def watch(
    stretches: Iterable[Tensor], detector: ObjectDetector | None = None, windows: Iterable[Window] = ()
) -> LongVideos:
    """What stays of N videos that come as stretches uint8 [N, t, C, H, W]."""
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
    """uint8 [N, t, C, H, W]: what follows in a world on prompts of P frames under `actions` [N, T] or [N, T, A];
    nothing that a video shows depends on the others."""
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
