"""The worlds of all sessions, stepped together: in the model's own thread, and nowhere else.

Sessions with equal samplers that fall in one tick are one batch. Joining copies keys and values, so a batch stays
joined as long as the same sessions tick together; one that ticks alone for once is taken out and joined again later.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

import logging
import time
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch

from genie.common.device import inference
from genie.common.media import to_bytes
from genie.playing.prompting import Prompt, encode_png
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import GenieStep, WorldModel


@dataclass(frozen=True)
class Job:
    """The next frame of one session."""

    session: Hashable
    action: int
    sampler: Sampler


@dataclass(frozen=True)
class Made:
    """A frame as PNG, made in `passes` of the dynamics, with `together` sessions in one step of `seconds`; the `reward`
    of that step and whether it is an end, None in a world that knows no rewards."""

    png: bytes
    passes: int
    seconds: float
    together: int
    reward: float | None = None
    terminal: bool | None = None


@dataclass(frozen=True)
class Place:
    """A session's row of a state that it may share."""

    state: WorldState
    row: int


class Worlds:
    """A world model and, by session, the state that each has reached."""

    def __init__(self, world: WorldModel) -> None:
        self.world = world
        self.places: dict[Hashable, Place] = {}

    def begin(self, session: Hashable, prompt: Prompt, seed: int) -> list[bytes]:
        """Begin anew from a prompt; returns its frames as PNG."""
        device = self.world.device
        known = None if prompt.actions is None else prompt.actions[None].to(device)
        with inference(device):
            state = self.world.reset(prompt.frames[None].to(device), known, seed)
        self.places[session] = Place(state, 0)
        return [encode_png(picture) for picture in to_bytes(prompt.frames)]

    def end(self, session: Hashable) -> None:
        """Forget a session."""
        self.places.pop(session, None)

    def step(self, jobs: list[Job]) -> dict[Hashable, Made | Exception]:
        """One frame for each job, or what went wrong with it: an error of one session leaves the others."""
        groups: dict[Sampler, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.sampler, []).append(job)
        results: dict[Hashable, Made | Exception] = {}
        for group in groups.values():
            results |= self._step_or_split(group)
        return results

    def _step_or_split(self, jobs: list[Job]) -> dict[Hashable, Made | Exception]:
        try:
            return self._step(jobs)
        except Exception as error:
            if len(jobs) == 1:
                logging.getLogger(__name__).error("a session ended by an error", exc_info=error)
                return {jobs[0].session: error}
        results = {}
        for job in jobs:
            results |= self._step_or_split([job])
        return results

    def _step(self, jobs: list[Job]) -> dict[Hashable, Made]:
        start = time.perf_counter()
        jobs = sorted(jobs, key=self._order)
        state = self._together([self.places[job.session] for job in jobs])
        self.world.sampler = jobs[0].sampler
        with inference(self.world.device):
            actions = torch.tensor([job.action for job in jobs], device=self.world.device)
            state, step = self.world.step(state, actions)
        pictures, passes, rewards = _on_host(step)
        seconds = time.perf_counter() - start
        results = {}
        for row, job in enumerate(jobs):
            self.places[job.session] = Place(state, row)
            judged = rewards[row] if self.world.knows_rewards else (None, None)
            results[job.session] = Made(encode_png(pictures[row]), passes[row], seconds, len(jobs), *judged)
        return results

    def _order(self, job: Job) -> tuple[int, int]:
        """Rows of one state side by side and in their order, so that a joined state is used as it is."""
        place = self.places[job.session]
        return id(place.state), place.row

    @staticmethod
    def _together(places: list[Place]) -> WorldState:
        """One state whose rows are these places, copied only where they are not one already."""
        parts: list[tuple[WorldState, list[int]]] = []
        for place in places:
            if parts and parts[-1][0] is place.state:
                parts[-1][1].append(place.row)
            else:
                parts.append((place.state, [place.row]))
        chosen = [state if rows == list(range(len(state))) else state.select(rows) for state, rows in parts]
        return chosen[0] if len(chosen) == 1 else WorldState.joined(chosen)


def _on_host(step: GenieStep) -> tuple[np.ndarray, list[int], list[tuple[float, bool]]]:
    """Pictures uint8 [B, H, W, 3], passes, and rewards with ends of a step."""
    rewards = list(zip(step.reward.tolist(), step.terminal.tolist(), strict=True))
    return to_bytes(step.observation), step.passes.tolist(), rewards
