"""Engine: sessions stepped together on the model's thread.

The worlds of all sessions, stepped together: in the model's own thread, and nowhere else.

Sessions with equal samplers that fall in one tick are one batch. Joining copies keys and values, so a batch stays
joined as long as the same sessions tick together; one that ticks alone for once is taken out and joined again later.

When which session gets its next frame.

The model runs in one thread of its own; everything else here runs on the event loop and never waits for it. The
sessions of one frame rate are due at the same moments, so they fall in one tick and into one batch. While a step takes
longer than a frame should, everybody waits: nothing queues up, and whoever is due by then is in the next batch.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genie.common.device import inference
from genie.common.media import to_bytes
from genie.play_server.session import Prompt, Session, encode_png
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
class Seat:
    """A session's row of a state that it may share."""

    state: WorldState
    row: int


class Worlds:
    """A world model and, by session, the state that each has reached."""

    def __init__(self, world: WorldModel) -> None:
        self.world = world
        self.places: dict[Hashable, Seat] = {}

    def begin(self, session: Hashable, prompt: Prompt, seed: int) -> list[bytes]:
        """Begin anew from a prompt; returns its frames as PNG."""
        device = self.world.device
        known = None if prompt.actions is None else prompt.actions[None].to(device)
        with inference(device):
            state = self.world.reset(prompt.frames[None].to(device), known, seed)
        self.places[session] = Seat(state, 0)
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
            self.places[job.session] = Seat(state, row)
            judged = rewards[row] if self.world.knows_rewards else (None, None)
            results[job.session] = Made(encode_png(pictures[row]), passes[row], seconds, len(jobs), *judged)
        return results

    def _order(self, job: Job) -> tuple[int, int]:
        """Rows of one state side by side and in their order, so that a joined state is used as it is."""
        place = self.places[job.session]
        return id(place.state), place.row

    @staticmethod
    def _together(places: list[Seat]) -> WorldState:
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


SLACK = 0.002  # seconds: timers are not exact, and a tick too early costs a batch
ROUNDING = 1e-3  # periods: a moment divided by the period is not exactly a whole number


class ServerFullError(Exception):
    """There is no place for another session."""


class Engine:
    """The sessions of one world.

    Args:
        worlds: the model and its states; from now on only the engine's thread may touch them.
        max_sessions: at once.
        idle_seconds: a session of which nothing was heard for so long ends.
    """

    def __init__(self, worlds: Worlds, max_sessions: int = 8, idle_seconds: float = 600) -> None:
        self.worlds, self.max_sessions, self.idle_seconds = worlds, max_sessions, idle_seconds
        self.sessions: dict[str, Session] = {}
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="world")
        self.changed = asyncio.Event()
        self.clock = time.monotonic

    # ---------------------------------------------------------------- sessions

    async def open(self, session: Session) -> None:
        """Takes a session in and begins its world. Raises ServerFullError, and the world's own errors."""
        if len(self.sessions) >= self.max_sessions:
            raise ServerFullError(
                f"all places of this world are taken (players at most: {self.max_sessions}); try again in a while, or "
                "start it with a larger play.max_sessions"
            )
        self.sessions[session.id] = session
        try:
            await self.reset(session, session.prompt, session.seed)
        except BaseException:
            self.close(session)
            raise

    async def reset(self, session: Session, prompt: Prompt, seed: int) -> None:
        """Begin the session's world anew."""
        self.touch(session)
        rollout = session.begin(prompt, seed)
        pictures = await self._work(self.worlds.begin, session.id, prompt, seed)
        if session.rollout == rollout and session.id in self.sessions:
            session.add_prompt(pictures)
            self.hurry(session)

    def close(self, session: Session, message: str | None = None) -> None:
        """Ends a session and frees what it held; with a `message`, the player is told."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.worker.submit(self.worlds.end, session.id)
        if message:
            session.on_end(message)

    def touch(self, session: Session) -> None:
        """The player is there."""
        session.used = self.clock()

    def hurry(self, session: Session) -> None:
        """The session's next frame is not a matter of the frame rate: it was reset, resumed or stepped."""
        session.due = 0.0
        self.changed.set()

    # -------------------------------------------------------------------- time

    async def run(self) -> None:
        """Ticks until cancelled."""
        reaper = asyncio.create_task(self._end_idle())
        try:
            while True:
                await self.tick(await self._due())
        finally:
            reaper.cancel()
            self.worker.shutdown(wait=False, cancel_futures=True)

    async def tick(self, sessions: list[Session]) -> None:
        """One frame for each of these sessions."""
        now = self.clock()
        jobs, asked = [], {}
        for session in sessions:
            asked[session.id] = session.rollout, session.press
            jobs.append(Job(session.id, session.next_action(), session.sampler))
            # Moments that all sessions of one rate share. Those that pass during the step are left out.
            session.due = (math.floor(max(now, session.due) / session.period + ROUNDING) + 1) * session.period
        results = await self._work(self.worlds.step, jobs)
        for job in jobs:
            session, (rollout, press) = self.sessions.get(job.session), asked[job.session]
            if session is not None and session.rollout == rollout:
                self._deliver(session, job, results[job.session], press)

    def _deliver(self, session: Session, job: Job, result: Made | Exception, press: int) -> None:
        if isinstance(result, Exception):
            self.close(session, "the world could not make the next frame, and this session has ended")
            return
        cost = result.passes, result.seconds, result.together
        session.add(result.png, job.action, job.sampler, *cost, press, result.reward, result.terminal)

    async def _due(self) -> list[Session]:
        """Waits until some session is due; returns all that are."""
        while True:
            self.changed.clear()
            waiting = [session for session in self.sessions.values() if session.wants_frame]
            now = self.clock()
            due = [session for session in waiting if session.due <= now + SLACK]
            if due:
                return due
            first = min((session.due for session in waiting), default=None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), None if first is None else first - now)

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(min(5.0, self.idle_seconds / 4))
            for session in list(self.sessions.values()):
                if session.held is not None:
                    self.touch(session)
                elif self.clock() - session.used > self.idle_seconds:
                    self.close(session, "nobody played for a while, and this session has ended to make room")

    async def _work(self, function: Callable, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)
