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
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from genie.common.device import inference
from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.models.kv_cache import Past
from genie.play_server.session import Made, Move, Prompt, Session, SessionRecording, encode_png
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

if TYPE_CHECKING:  # it takes the environments' libraries, which few sessions need
    from genie.play_server.real_game import RealGame

MakeGame = Callable[[], Awaitable["RealGame | None"]]
READY_SECONDS = 0.02  # between two looks at whether a session is ready to be forked
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
    """A world model and the current state of each session.

    `starts`: of each session the states from which its rollout can be made again, in time: that of the prompt, and
    those before which the window began anew. There keys and values are computed from the tokens alone, so these states
    are kept without them, in some kilobytes each.
    """

    def __init__(self, world: WorldModel) -> None:
        self.world = world
        self.places: dict[Hashable, Seat] = {}
        self.starts: dict[Hashable, list[WorldState]] = {}

    def begin(self, session: Hashable, prompt: Prompt, seed: int) -> list[bytes]:
        """Starts a session again from a prompt; returns its frames as PNG."""
        device = self.world.device
        known = None if prompt.actions is None else prompt.actions[None].to(device)
        with inference(device):
            state = self.world.reset(prompt.frames[None].to(device), known, seed)
        self.places[session], self.starts[session] = Seat(state, 0), [self._bare(state)]
        return [encode_png(picture) for picture in to_bytes(prompt.frames)]

    def end(self, session: Hashable) -> None:
        self.places.pop(session, None)
        self.starts.pop(session, None)

    def back(self, session: Hashable, moves: list[Move]) -> None:
        """Sets a session to the frame after these moves, the first ones of its rollout, exactly as it was: from the
        nearest of its `starts` the frames are made again."""
        starts = [start for start in self.starts[session] if int(start.ages[0]) <= len(moves)]
        state = self._bare(starts[-1])  # its memory is not that of the start, which stays small
        with inference(self.world.device):
            for action, self.world.sampler in moves[int(state.ages[0]) :]:
                state, _ = self.world.step(state, torch.tensor([action], device=self.world.device))
        self.places[session], self.starts[session] = Seat(state, 0), starts

    def fork(self, session: Hashable, other: Hashable, moves: list[Move]) -> None:
        """Gives the session `other` the state after the first `moves` of this one."""
        self.starts[other] = list(self.starts[session])
        self.back(other, moves)

    def effects(self, prompt: Prompt, seed: int) -> WorldState:
        """The state after a prompt, once for each action, with the same draws: only the actions will differ."""
        count, device = self.world.num_actions, self.world.device
        known = None if prompt.actions is None else prompt.actions.expand(count, -1).to(device)
        frames = prompt.frames[None].expand(count, -1, -1, -1, -1).to(device)
        with inference(device):
            return self.world.reset(frames, known, torch.full((count,), seed, device=device))

    def effect_step(self, state: WorldState, sampler: Sampler) -> tuple[WorldState, np.ndarray]:
        """The next frames uint8 [A, H, W, 3], each row under its own action."""
        self.world.sampler = sampler
        with inference(self.world.device):
            state, step = self.world.step(state, torch.arange(len(state), device=self.world.device))
        return state, to_bytes(step.observation)

    def _bare(self, state: WorldState, row: int = 0) -> WorldState:
        """A row of a state without keys and values, which it is exact without before its window begins anew."""
        length = state.lengths[row]
        tokens, actions = state.tokens[[row], :length], state.actions[[row], : length - 1]  # copies
        empty = [Past.empty(past.cache.num_blocks, 1, past.cache.capacity) for past in (state.dynamics, state.decoder)]
        return WorldState(tokens, actions, (length,), state.seeds[[row]], state.ages[[row]], *empty)

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
        for row, job in enumerate(jobs):
            if state.lengths[row] >= self.world.window:
                self.starts[job.session].append(self._bare(state, row))
        with inference(self.world.device):
            actions = torch.tensor([job.action for job in jobs], device=self.world.device)
            state, step = self.world.step(state, actions)
        pictures, passes = to_bytes(step.observation), step.passes.tolist()
        rewards, ends, entropy = step.reward.tolist(), step.terminal.tolist(), step.uncertainty.tolist()
        seconds = time.perf_counter() - start
        results = {}
        for row, job in enumerate(jobs):
            self.places[job.session] = Seat(state, row)
            reward = (rewards[row], ends[row]) if self.world.knows_rewards else (None, None)
            png = encode_png(pictures[row])
            results[job.session] = Made(png, passes[row], seconds, len(jobs), *reward, entropy=entropy[row])
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

    async def open(self, session: Session, game: "MakeGame | None" = None) -> None:
        """Adds a session and starts its world, beside the real game that `game` opens. Raises ServerFullError, and the
        world's own errors."""
        self._admit(session)
        try:
            await self._open_game(session, game)
            await self.reset(session, session.prompt, session.seed)
        except BaseException:
            self.close(session)
            raise

    def _admit(self, session: Session) -> None:
        if len(self.sessions) >= self.max_sessions:
            raise ServerFullError(
                f"all places of this world are taken (players at most: {self.max_sessions}); try again in a while, or "
                "start it with a larger play.max_sessions"
            )
        self.sessions[session.id] = session
        self.touch(session)

    async def _open_game(self, session: Session, make: "MakeGame | None") -> None:
        """Gives a session its real game, unless it has ended meanwhile."""
        if make is None:
            return

        def take(made: "asyncio.Future[RealGame | None]") -> None:
            game = None if made.cancelled() or made.exception() else made.result()
            if game is not None and session.id in self.sessions:
                session.game = game
            elif game is not None:
                game.close()

        opening = asyncio.ensure_future(make())
        opening.add_done_callback(take)
        await asyncio.shield(opening)  # a page that leaves does not leave an open game behind

    async def reset(self, session: Session, prompt: Prompt, seed: int) -> int:
        """Starts the session's world again; returns the number of the rollout."""
        self.touch(session)
        rollout = session.begin(prompt, seed)
        pictures = await self._work(self.worlds.begin, session.id, prompt, seed)
        if session.game is not None:
            await session.game.begin(prompt)
        if session.rollout == rollout and session.id in self.sessions:
            session.add_prompt(pictures)
            self.hurry(session)
        return rollout

    async def back(self, session: Session, count: int) -> None:
        """Takes a session's world `count` frames back, at most to its prompt, and pauses it."""
        self.touch(session)
        rollout, moves = session.back(count), session.moves()
        await self._work(self.worlds.back, session.id, moves)
        if session.game is not None:
            await session.game.rewind(session.prompt, [action for action, _ in moves])
        if session.rollout == rollout:
            session.ready = True

    async def fork(self, source: str, session: Session, game: "MakeGame | None" = None) -> bool:
        """Adds a session where that with the id `source` is now; False, and nothing is added, where that has ended.
        Raises ServerFullError."""
        other = self.sessions.get(source)
        if other is None:
            return False
        self._admit(session)
        try:
            await self._open_game(session, game)
            while not other.ready and source in self.sessions:  # it begins, or goes back
                await asyncio.sleep(READY_SECONDS)
            if source not in self.sessions:
                self.close(session)
                return False
            session.continue_from(other)
            moves = session.moves()
            await self._work(self.worlds.fork, source, session.id, moves)
            if session.game is not None:
                await session.game.rewind(session.prompt, [action for action, _ in moves])
        except BaseException:
            self.close(session)
            raise
        session.ready = True
        session.show_again()
        return True

    async def replay(self, session: Session, recording: SessionRecording, prompt: Prompt) -> None:
        """Starts the session's world again and makes the moves of a recording one after the other."""
        if unknown := [action for action in recording.actions if not 0 <= action < self.worlds.world.num_actions]:
            raise UserError(f"the replay has the action {unknown[0]}, which this world does not have")
        if await self.reset(session, prompt, recording.seed) != session.rollout:
            return
        session.script = list(zip(recording.actions, recording.samplers, strict=True))
        session.scripted = bool(session.script)
        session.paused, session.fps = False, recording.fps
        self.hurry(session)

    async def effects(self, prompt: Prompt, count: int, seed: int, sampler: Sampler) -> np.ndarray:
        """uint8 [A, count, H, W, 3]: what each action, held, makes of a prompt. Between its steps, others play."""
        state, frames = await self._work(self.worlds.effects, prompt, seed), []
        for _ in range(count):
            state, pictures = await self._work(self.worlds.effect_step, state, sampler)
            frames.append(pictures)
        return np.stack(frames, axis=1)

    def close(self, session: Session, message: str | None = None) -> None:
        """Ends a session, with a `message` to the player, and frees its state."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.worker.submit(self.worlds.end, session.id)
        if session.game is not None:
            session.game.close()
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
            jobs.append(Job(session.id, *session.next_move()))
            # multiples of the period, which all sessions of one rate share; those that pass during the step are skipped
            session.due = (math.floor(max(now, session.due) / session.period + ROUNDING) + 1) * session.period
        results = await self._work(self.worlds.step, jobs)
        for job in jobs:
            session, (rollout, press) = self.sessions.get(job.session), asked[job.session]
            if session is None or session.rollout != rollout:
                continue
            if isinstance(made := results[job.session], Exception):
                self.close(session, "the world could not make the next frame, and this session has ended")
                continue
            if session.game is not None:
                made = replace(made, real=await session.game.step(job.action))
            if session.rollout == rollout:
                session.add(made, job.action, job.sampler, press)
                if session.scripted and not session.script:
                    session.scripted, session.paused = False, True
                    session.on_pause()

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
