"""The environment of the data beside a world: it begins where the prompt ends, and is given the same actions."""

from pathlib import Path
from typing import Any

import numpy as np

from data_modules.formats.episode_reader import EpisodeReader
from genie.common.errors import UserError
from genie.common.random import Stream, fold_in
from genie.datasets.replay import Recorded, brought_to
from genie.play_server.session import Prompt, encode_png
from genie.prompts.data_clips import PromptClips
from genie.world.world_model import WorldModel


def true_actions(world: WorldModel, labels: list[str], names: list[str]) -> list[int]:
    """The environment's action for each of the world's: the same one, or for latent actions that of their name.

    Raises UserError where a latent action has none of the names.
    """
    if world.takes_environment_actions:
        return list(range(world.num_actions))
    known = {name.lower(): number for number, name in enumerate(names)}
    found = [known.get(label.partition(" (")[0].lower()) for label in labels]  # "up (2)": the second one called up
    if None in found:
        raise UserError(
            f"which action of the game {labels[found.index(None)]!r} is, is not known: evaluate the run, or name its "
            f"actions with play.actions= ({', '.join(names)})"
        )
    return found  # type: ignore[return-value]


class RealGame:
    """A real game of one session.

    Args:
        clips: of the data, from whose prompts it begins.
        actions: the environment's action for each of the world's.
        seed: of the games that begin when one is over.

    Raises UserError where the data do not say how they were recorded.
    """

    def __init__(self, clips: PromptClips, data: dict[str, Any], actions: list[int], seed: int) -> None:
        reader = clips.clips.reader
        if not isinstance(reader, EpisodeReader) or "actions" not in reader.columns:
            raise UserError("these data were not recorded from a game that can be played beside the world")
        self.recorded = Recorded(Path(reader.path).stem, reader.path, data)
        self.clips, self.actions, self.seed, self.steps = clips.clips, actions, seed, -1

    def begin(self, prompt: Prompt) -> bool:
        """Brings the game to the end of a prompt; False for one that is no clip of the data."""
        self.steps = -1
        index = prompt.source.get("clip")
        if index is None:
            return False
        seen = self._seen(brought_to(self.recorded, self.clips, index, len(prompt.frames)))
        given = (prompt.frames[-1].permute(1, 2, 0) * 255).round().byte().numpy()
        if not np.array_equal(seen, given):  # recorded by another version, or with other settings
            return False
        self.steps = 0
        return True

    def step(self, action: int) -> bytes | None:
        """The next frame as the world would see it, PNG; None where the game did not begin."""
        if self.steps < 0:
            return None
        environment = self.recorded.environment
        self.steps += 1
        for _ in range(self.clips.stride):
            frame, _, terminal, truncated = environment.step(self.actions[action])
            if terminal or truncated:
                frame = environment.reset(fold_in(self.seed, Stream.FURTHER_GAME, self.steps) % 2**31)
                break
        return encode_png(self._seen(frame))

    def close(self) -> None:
        self.recorded.environment.close()

    def _seen(self, frame: np.ndarray) -> np.ndarray:
        return self.clips.reader.resize(frame[None])[0]
