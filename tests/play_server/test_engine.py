"""Many players, one model: what each gets, who is stepped together, and what one cannot do to the others."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from genie.models.heads import Judged
from genie.play_server.engine import ServerFullError
from genie.play_server.session import decode_png
from genie.world.sampler import Sampler
from genie.world.state import WorldState
from genie.world.world_model import WorldModel

pytestmark = pytest.mark.slow


@pytest.fixture
def steps(monkeypatch):
    """(batch size, sampler, thread) of every step of any world."""
    taken, original = [], WorldModel.step

    def step(self, state, actions):
        taken.append((len(actions), self.sampler, threading.current_thread().name))
        return original(self, state, actions)

    monkeypatch.setattr(WorldModel, "step", step)
    return taken


@pytest.fixture
def copies(monkeypatch):
    """What was copied to make batches: "joined" or "select" with the number of states or rows."""
    made, join, select = [], WorldState.joined, WorldState.select

    def joined(states):
        made.append(("joined", len(states)))
        return join(states)

    def selected(self, index):
        made.append(("select", len(index)))
        return select(self, index)

    monkeypatch.setattr(WorldState, "joined", staticmethod(joined))
    monkeypatch.setattr(WorldState, "select", selected)
    return made


def pictures(session):
    return np.stack([decode_png(png) for png in session.made]).astype(int)


def test_each_session_gets_what_it_would_get_alone(at_table):
    """Sessions of other prompts, seeds, lengths and actions, that come, go and pause, make no difference."""
    moves = [0, 1, 2, 2, 1, 0, 1, 2, 0, 2]  # longer than the window

    async def alone(table):
        player = await table.player(clip=3, seed=7)
        for action in moves:
            await table.act((player, action))
        return pictures(player)

    async def in_company(table):
        first = await table.player(clip=1, seed=1)
        await table.act((first, 1))
        player = await table.player(clip=3, seed=7)
        third = await table.player(clip=2, seed=2)
        for turn, action in enumerate(moves):
            company = [[(first, 2)], [(third, 0), (first, 1)], []][turn // 3 % 3]
            await table.act(*company, (player, action))
        return pictures(player)

    expected, got = at_table(alone), at_table(in_company)
    assert len({frame.tobytes() for frame in expected}) > 2
    assert np.abs(expected - got).max() <= 1  # sums of another batch size are rounded otherwise


def test_sessions_of_one_tick_are_one_step(at_table, steps):
    async def play(table):
        players = [await table.player(seed=seed) for seed in range(3)]
        other = await table.player(sampler=Sampler(1, 0.0))
        await table.act(*[(player, 1) for player in [players[0], other, *players[1:]]])
        return [len(player.made) for player in [*players, other]]

    assert at_table(play) == [1, 1, 1, 1]
    assert sorted(step[0] for step in steps) == [1, 3]
    assert {step[1] for step in steps if step[0] == 1} == {Sampler(1, 0.0)}


def test_a_world_with_rewards_keeps_the_score(at_table):
    """One half for each frame of the first player, and an end; nothing before there is a reward model."""

    def judge(features):
        logits = torch.full((len(features),), -1.0)
        return Judged(torch.full_like(logits, 0.5), logits.sigmoid(), logits, None)

    async def play(table):
        player, said = await table.player(), []
        player.on_frame = said.append
        await table.act((player, 1))
        table.game.world.reward_model = judge
        await table.act((player, 1))
        await table.act((player, 0))
        await table.engine.reset(player, player.prompt, 3)
        await table.act((player, 0))
        return [(frame.reward, frame.score, frame.terminal) for frame in said if frame.action is not None]

    assert at_table(play) == [(None, None, None), (0.5, 0.5, True), (0.5, 1.0, True), (0.5, 0.5, True)]


def test_who_ticks_together_again_stays_joined(at_table, copies):
    async def play(table):
        players = [await table.player(seed=seed) for seed in range(3)]
        for turn in range(4):
            # whatever the order in which they come
            await table.act(*[(player, 1) for player in (players if turn % 2 else players[::-1])])
        before = list(copies)
        await table.act((players[0], 1), (players[1], 2))
        table.engine.close(players[2])
        await table.act((players[0], 1), (players[1], 2))
        return before

    assert at_table(play) == [("joined", 3)]
    assert copies == [("joined", 3), ("select", 2)]  # two of the three are taken out once, and stay together


def test_the_model_runs_in_one_thread_of_its_own(at_table, steps):
    async def play(table):
        players = [await table.player(sampler=Sampler(n, 1.0)) for n in (1, 2)]
        await table.act(*[(player, 0) for player in players])
        await table.act((players[0], 0))

    at_table(play)
    names = {step[2] for step in steps}
    assert len(names) == 1 and names != {threading.main_thread().name}


def test_no_more_sessions_than_there_are_places(at_table):
    async def play(table):
        first, second = await table.player(), await table.player()
        with pytest.raises(ServerFullError, match="at most: 2"):
            await table.player()
        table.engine.close(first)
        await table.player()
        return second

    at_table(play, max_sessions=2)


def test_an_idle_session_ends_and_frees_its_state(at_table):
    async def play(table):
        idle, busy, holding = [await table.player() for _ in range(3)]
        holding.hold(1)
        running = asyncio.create_task(table.engine.run())
        for _ in range(100):
            await asyncio.sleep(0.02)
            table.engine.touch(busy)
        left = set(table.engine.sessions)
        await asyncio.get_running_loop().run_in_executor(table.engine.worker, int)
        states = set(table.engine.worlds.places)
        running.cancel()
        return idle.id, {busy.id, holding.id}, left, states, table.messages

    idle, others, left, states, messages = at_table(play, idle_seconds=1.0)
    assert left == states == others
    assert [id for id, _ in messages] == [idle] and "nobody played" in messages[0][1]


def test_an_error_in_one_session_leaves_the_others(at_table, monkeypatch):
    original = WorldModel.step

    def step(self, state, actions):
        if (actions == 2).any():
            raise RuntimeError("broken")
        return original(self, state, actions)

    monkeypatch.setattr(WorldModel, "step", step)

    async def play(table):
        good, bad, fine = [await table.player(seed=seed) for seed in range(3)]
        await table.act((good, 0), (bad, 1), (fine, 1))
        await table.act((good, 0), (bad, 2), (fine, 1))
        await table.act((good, 0), (fine, 1))
        return bad.id, [len(player.made) for player in (good, bad, fine)], table.messages

    bad, counts, messages = at_table(play)
    assert counts == [3, 1, 3] and [id for id, _ in messages] == [bad]


def test_a_reset_during_a_step_drops_the_frame(at_table, monkeypatch):
    started, go, original = threading.Event(), threading.Event(), WorldModel.step

    def step(self, state, actions):
        started.set()
        assert go.wait(10)
        return original(self, state, actions)

    async def play(table):
        player = await table.player(clip=1)
        monkeypatch.setattr(WorldModel, "step", step)
        ticking = asyncio.create_task(table.engine.tick([player]))
        while not started.is_set():
            await asyncio.sleep(0.001)
        resetting = asyncio.create_task(table.engine.reset(player, table.prompt(5), 3))
        await asyncio.sleep(0.01)  # the loop is free although the model is not
        go.set()
        await asyncio.gather(ticking, resetting)
        assert player.made == [] and player.actions == [] and player.rollout == 2
        await table.act((player, 1))
        return player.prompt.source["clip"], player.actions

    assert at_table(play) == (5, [1])


def test_a_slow_model_is_waited_for(at_table, monkeypatch):
    """With a step of five periods there are five times fewer frames, one at a time, and none is made up for later."""
    original, running = WorldModel.step, []

    def step(self, state, actions):
        running.append(1)
        assert len(running) == 1
        result = original(self, state, actions)
        threading.Event().wait(0.1)
        running.pop()
        return result

    monkeypatch.setattr(WorldModel, "step", step)

    async def play(table):
        player, other = await table.player(), await table.player(seed=1)
        ticking = asyncio.create_task(table.engine.run())
        await asyncio.sleep(1.2)
        waiting = table.engine.worker._work_queue.qsize()
        ticking.cancel()
        return waiting, len(player.made), len(other.made)

    waiting, mine, others = at_table(play)
    assert waiting <= 1 and 1 <= mine <= 12 and abs(mine - others) <= 1


def test_frames_come_at_the_rate_that_was_asked_for_and_in_step(at_table, steps):
    async def play(table):
        first = await table.player()
        ticking = asyncio.create_task(table.engine.run())
        first.fps = 10
        await asyncio.sleep(0.13)
        second = await table.player(seed=1)
        second.fps = 10
        await asyncio.sleep(0.1)
        steps.clear()
        counts = len(first.made)
        await asyncio.sleep(1.0)
        ticking.cancel()
        return len(first.made) - counts

    assert 1 <= at_table(play) <= 11  # fewer on a slow machine, never more
    assert [step[0] for step in steps].count(2) >= len(steps) - 1  # they began apart and tick together


async def until(condition):
    """Waits as long as a loaded machine may need."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)


def test_pause_and_single_steps(at_table):
    async def play(table):
        player = await table.player()
        ticking = asyncio.create_task(table.engine.run())
        player.paused = True
        await asyncio.sleep(0.2)
        before = len(player.made)
        player.singles = 1
        table.engine.hurry(player)
        await until(lambda: len(player.made) > before)
        await asyncio.sleep(0.3)  # no other one follows
        ticking.cancel()
        return len(player.made) - before

    assert at_table(play) == 1


def test_a_tap_between_two_frames_acts_for_one(at_table):
    async def play(table):
        player = await table.player()
        player.hold(2)
        player.hold(None)
        for _ in range(2):
            await table.engine.tick([player])
        player.hold(1)
        for _ in range(2):
            await table.engine.tick([player])
        player.hold(None)
        await table.engine.tick([player])
        return player.actions

    assert at_table(play) == [2, 0, 1, 1, 0]


def test_a_full_rollout_stops(at_table):
    async def play(table):
        player = await table.player(max_frames=3)
        ticking = asyncio.create_task(table.engine.run())
        await until(lambda: player.full)
        await asyncio.sleep(0.3)
        full = len(player.made)
        await table.engine.reset(player, player.prompt, 0)
        await until(lambda: player.full)
        ticking.cancel()
        return full, len(player.made), player.rollout

    assert at_table(play) == (3, 3, 2)
