"""Replay of a recorded episode in its environment, and of what other actions would have led to.

An episode follows from its seed and the recorded actions alone, so the environment can be brought to any of its frames
and serve as a perfect world model of the data from there.
"""

from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np

from data_modules.environments import Environment, GymnasiumEnvironment


class EpisodeReplay:
    """One episode of a recording.

    Args:
        environment: with the settings and the frame size of the recording.
        seed: of the reset.
        actions: int64 [n] or float32 [n, A], those of all its rows; on the last one nothing was decided.
    """

    def __init__(self, environment: Environment, seed: int, actions: np.ndarray) -> None:
        self.environment, self.actions, self.position = environment, actions, 0
        self.first = environment.reset(seed)

    def observations(self) -> Iterator[np.ndarray]:
        """All observations of the episode; fewer where the environment ends it earlier."""
        yield self.first
        for action in self.actions[:-1]:
            observation, _, terminal, truncated = self.environment.step(action)
            self.position += 1
            yield observation
            if terminal or truncated:
                return

    def go_to(self, frame: int) -> None:
        """Plays the recorded actions up to a frame of the episode, which must not be before the current one."""
        for action in self.actions[self.position : frame]:
            self.environment.step(action)
        self.position = frame

    def branch(self, actions: Iterable[int], stride: int = 1) -> np.ndarray:
        """Every `stride`-th frame uint8 [n, H, W, 3] that other actions lead to; the position of the replay stays. For
        an environment that `can_branch`."""
        environment = cast(GymnasiumEnvironment, self.environment)
        state = environment.save()
        frames = [environment.step(action)[0] for action in actions]
        environment.restore(state)
        return np.stack(frames[stride - 1 :: stride])
