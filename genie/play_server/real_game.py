"""The environment of the data beside a world: it begins where the prompt ends, and is given the same actions."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.episodes import read_origin
from genie.common.errors import UserError
from genie.datasets.replay import Recorded, brought_to, held_step, recording_settings
from genie.play_server.session import Prompt, encode_png
from genie.prompts.data_clips import PromptClips
from genie.world.world_model import WorldModel

NO_GAME = "the data of this world name no environment: there is no game to play beside it"


def true_actions(world: WorldModel, labels: list[str], names: list[str]) -> list[int]:
    """The environment's action for each of the world's: the same one, or for latent actions that of their name.

    Raises UserError where a latent action has none of the names.
    """
    if world.takes_environment_actions:
        return list(range(world.num_actions))
    if not names:
        raise UserError(
            "its data give the actions of the game no names, so which of them a latent action is, is not known"
        )
    known = {name.lower(): number for number, name in enumerate(names)}
    found = [known.get(label.partition(" (")[0].lower()) for label in labels]  # "up (2)": the second one called up
    if None in found:
        raise UserError(
            f"which action of the game {labels[found.index(None)]!r} is, is not known: evaluate the run, or name its "
            f"actions with play.actions= ({', '.join(names)})"
        )
    return found  # type: ignore[return-value]


def has_game(clips: PromptClips | None, data: dict[str, Any]) -> bool:
    """Whether the data name an environment that recorded them; those of videos do not."""
    reader = None if clips is None else clips.clips.reader
    if not isinstance(reader, EpisodeReader) or "actions" not in reader.columns:
        return False
    try:
        return recording_settings(read_origin(reader.path), data) is not None
    except UserError:  # damaged: the world is played without
        return False


class RealGame:
    """A real game of one session, in a thread of its own: whatever it takes, no world waits for it.

    Args:
        clips: of the data, from whose prompts it begins.
        actions: the environment's action for each of the world's.
        seed: of the games that begin when one is over.

    Attributes:
        last: what it shows, as the world would see it, PNG; None where it could not begin, or went wrong since.

    Raises UserError where the data do not say how they were recorded.
    """

    def __init__(self, clips: PromptClips, data: dict[str, Any], actions: list[int], seed: int) -> None:
        if not has_game(clips, data):
            raise UserError(NO_GAME)
        reader = cast(EpisodeReader, clips.clips.reader)
        self.recorded = Recorded(Path(reader.path).stem, reader.path, data)
        self.clips, self.actions, self.seed, self.steps = clips.clips, actions, seed, 0
        self.last: bytes | None = None
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="real game")

    async def begin(self, prompt: Prompt) -> None:
        """Brings the game to the end of a prompt that is a clip of its data."""
        await self.rewind(prompt, [])

    async def rewind(self, prompt: Prompt, actions: list[int]) -> None:
        """Brings the game to where it was after these actions from a prompt."""
        await self._run(self._rewind, prompt, actions)

    async def step(self, action: int) -> bytes | None:
        """`last` after one more action."""
        if self.last is not None:
            await self._run(self._step, action)
        return self.last

    def close(self) -> None:
        self.worker.submit(self.recorded.environment.close)
        self.worker.shutdown(wait=False)

    async def _run(self, function: Callable, *arguments: Any) -> None:
        try:
            shown = await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)
            self.last = None if shown is None else encode_png(shown)
        except Exception as error:  # of the environment: the world goes on
            logging.getLogger(__name__).warning("the real game ended: %s", error)
            self.last = None

    def _rewind(self, prompt: Prompt, actions: list[int]) -> np.ndarray | None:
        index, self.steps = prompt.source.get("clip"), 0
        if index is None or len(prompt.frames) != self.clips.num_frames or not 0 <= index < len(self.clips):
            return None
        seen = self._seen(brought_to(self.recorded, self.clips, index, len(prompt.frames)))
        given = (prompt.frames[-1].permute(1, 2, 0) * 255).round().byte().numpy()
        if not np.array_equal(seen, given):  # recorded by another version, or with other settings
            return None
        frame = None
        for action in actions:
            frame = self._next(action)
        return seen if frame is None else self._seen(frame)

    def _step(self, action: int) -> np.ndarray:
        return self._seen(self._next(action))

    def _next(self, action: int) -> np.ndarray:
        """The screen after one more action of the world."""
        self.steps += 1
        environment, true = self.recorded.environment, self.actions[action]
        return held_step(environment, true, self.clips.stride, self.seed, self.steps)[0]

    def _seen(self, frame: np.ndarray) -> np.ndarray:
        return self.clips.reader.resize(frame[None])[0]
