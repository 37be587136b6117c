"""When which session gets its next frame.

The model runs in one thread of its own; everything else here runs on the event loop and never waits for it. The
sessions of one frame rate are due at the same moments, so they fall in one tick and into one batch. While a step takes
longer than a frame should, everybody waits: nothing queues up, and whoever is due by then is in the next batch.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from genie.playing.batching import Job, Made, Worlds
from genie.playing.prompting import Prompt
from genie.playing.session import Session

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
