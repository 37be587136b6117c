"""Engine of the play server: the worlds of all sessions, stepped together in the model's own thread.

Everything but the model runs on the event loop and never waits for it. Sessions of one frame rate are due at the same
moments, so that they are stepped together; those with equal samplers are one batch. While a step takes longer than the
period of a frame, nothing queues up: sessions that are due meanwhile are in the next step.

Joining states copies keys and values, so a batch stays joined while the same sessions are stepped together; a session
that is stepped alone is taken out and joined again later.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from genie.common.device import inference
from genie.common.media import to_bytes
from genie.play_server.session import Made, Prompt, Session, encode_png
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

SLACK = 0.002  # seconds: timers are not exact, and a step that is too early costs a batch
ROUNDING = 1e-3  # periods: a moment divided by the period is not exactly a whole number


@dataclass(frozen=True)
class Job:
    """The next frame of one session."""

    session: Hashable
    action: int
    sampler: Sampler


@dataclass(frozen=True)
class Seat:
    """A session's row of a state that sessions may share."""

    state: WorldState
    row: int


class Worlds:
    """A world model and the current state of each session."""

    def __init__(self, world: WorldModel) -> None:
        self.world = world
        self.places: dict[Hashable, Seat] = {}

    def begin(self, session: Hashable, prompt: Prompt, seed: int) -> list[bytes]:
        """Starts a session again from a prompt; returns its frames as PNG."""
        device = self.world.device
        known = None if prompt.actions is None else prompt.actions[None].to(device)
        with inference(device):
            state = self.world.reset(prompt.frames[None].to(device), known, seed)
        self.places[session] = Seat(state, 0)
        return [encode_png(picture) for picture in to_bytes(prompt.frames)]

    def end(self, session: Hashable) -> None:
        self.places.pop(session, None)

    def step(self, jobs: list[Job]) -> dict[Hashable, Made | Exception]:
        """One frame, or the error, of each job: an error of one session does not affect the others."""
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
        pictures, passes = to_bytes(step.observation), step.passes.tolist()
        rewards, ends = step.reward.tolist(), step.terminal.tolist()
        seconds = time.perf_counter() - start
        results = {}
        for row, job in enumerate(jobs):
            self.places[job.session] = Seat(state, row)
            reward = (rewards[row], ends[row]) if self.world.knows_rewards else (None, None)
            results[job.session] = Made(encode_png(pictures[row]), passes[row], seconds, len(jobs), *reward)
        return results

    def _order(self, job: Job) -> tuple[int, int]:
        """Rows of one state side by side and in their order, so that a joined state is used without a copy."""
        place = self.places[job.session]
        return id(place.state), place.row

    @staticmethod
    def _together(places: list[Seat]) -> WorldState:
        """One state whose rows are these places, copied only where they are not one already."""
        chosen = []
        for _, group in itertools.groupby(places, key=lambda place: id(place.state)):
            first, *others = group
            state, rows = first.state, [place.row for place in (first, *others)]
            chosen.append(state if rows == list(range(len(state))) else state.select(rows))
        return chosen[0] if len(chosen) == 1 else WorldState.joined(chosen)


class ServerFullError(Exception):
    """All places for sessions are taken."""


class Engine:
    """The sessions of one world.

    Args:
        worlds: the model and its states; from now on only the engine's thread may touch them.
        max_sessions: at once.
        idle_seconds: time without a message after which a session ends.
    """

    def __init__(self, worlds: Worlds, max_sessions: int = 8, idle_seconds: float = 600) -> None:
        self.worlds, self.max_sessions, self.idle_seconds = worlds, max_sessions, idle_seconds
        self.sessions: dict[str, Session] = {}
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="world")
        self.changed = asyncio.Event()
        self.clock = time.monotonic

    # ---------------------------------------------------------------- sessions

    async def open(self, session: Session) -> None:
        """Adds a session and starts its world. Raises ServerFullError, and the world's own errors."""
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
        """Starts the session's world again."""
        self.touch(session)
        rollout = session.begin(prompt, seed)
        pictures = await self._work(self.worlds.begin, session.id, prompt, seed)
        if session.rollout == rollout and session.id in self.sessions:
            session.add_prompt(pictures)
            self.hurry(session)

    def close(self, session: Session, message: str | None = None) -> None:
        """Ends a session, with a `message` to the player, and frees its state."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.worker.submit(self.worlds.end, session.id)
        if message:
            session.on_end(message)

    def touch(self, session: Session) -> None:
        session.used = self.clock()

    def hurry(self, session: Session) -> None:
        """Makes the next frame due at once, after a reset, a pause or a single step."""
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
            # multiples of the period, which all sessions of one rate share; those that pass during the step are skipped
            session.due = (math.floor(max(now, session.due) / session.period + ROUNDING) + 1) * session.period
        results = await self._work(self.worlds.step, jobs)
        for job in jobs:
            session, (rollout, press) = self.sessions.get(job.session), asked[job.session]
            if session is None or session.rollout != rollout:
                continue
            if isinstance(made := results[job.session], Exception):
                self.close(session, "the world could not make the next frame, and this session has ended")
            else:
                session.add(made, job.action, job.sampler, press)

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
