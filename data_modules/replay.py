"""A recorded episode played once more by its environment, and what would have come had other actions been taken.

An episode follows from its seed (`EpisodeRecorder`) and the recorded actions alone, so the environment can be brought
to any of its frames and be asked there: a perfect world model of this data.
"""

from collections.abc import Iterable

import numpy as np

from data_modules.recorder import EpisodeRecorder


class EpisodeReplay:
    """One episode of a recording.

    Args:
        recorder: with the settings and the frame size of the recording; its environment has to be one that
            `can_branch`.
        split, episode: which one.
        actions: int64 [n], the recorded actions of all its frames.
    """

    def __init__(self, recorder: EpisodeRecorder, split: str, episode: int, actions: np.ndarray) -> None:
        self.recorder, self.actions, self.position = recorder, actions, 0
        recorder.start(split, episode)

    def go_to(self, frame: int) -> None:
        """Play the recorded actions up to a frame of the episode, which must not lie before the one it is at."""
        for action in self.actions[self.position : frame]:
            self.recorder.environment.step(int(action))
        self.position = frame

    def branch(self, actions: Iterable[int], stride: int = 1) -> np.ndarray:
        """Every `stride`-th frame uint8 [n, H, W, 3] that other actions lead to; the replay stays where it is."""
        environment = self.recorder.environment
        state = environment.save()
        screens = [environment.step(int(action))[0] for action in actions]
        environment.restore(state)
        return self.recorder.pictures(screens[stride - 1 :: stride])
