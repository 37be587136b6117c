"""A tiny world to play, as `python -m genie.play` loads it."""

import asyncio
import contextlib
import threading

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.web import address, bind, web_server
from genie.play_server.engine import Engine, Worlds
from genie.play_server.play import load_game
from genie.play_server.server import create_app
from genie.play_server.session import Session
from genie.world.sampler import Sampler


@pytest.fixture(scope="session")
def play_config(world_run):
    """play_config(*overrides): the configuration `play` for the tiny world."""

    def build(*overrides):
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            return resolved("play", [f"run={world_run}", "device=cpu", *overrides])

    return build


@pytest.fixture(scope="session")
def serving():
    """serving(game): a context in which its page is served, with its address."""

    @contextlib.contextmanager
    def run(game):
        with bind("127.0.0.1", 0, "play") as listener:
            server = web_server(create_app(game), game.max_upload)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            yield address("127.0.0.1", listener)
            server.should_exit = True
            thread.join(20)

    return run


@pytest.fixture
def load(play_config):
    """load(*overrides): the game of that configuration, with a fast sampler."""
    games = []

    def build(*overrides):
        games.append(load_game(play_config("steps=2", "fps=50", *overrides)))
        return games[-1]

    yield build
    for game in games:
        game.engine.worker.shutdown(wait=False)
        game.files.shutdown(wait=False)


@pytest.fixture
def game(load):
    return load()


class Table:
    """An engine with players, whose ticks a test makes by hand."""

    def __init__(self, game, **settings):
        self.game, self.engine = game, Engine(Worlds(game.world), **settings)
        self.messages = []

    async def player(self, clip=0, seed=0, sampler=None, **settings):
        prompt = self.prompt(clip)
        session = Session(prompt, sampler or Sampler(2, 1.0), idle=0, fps=50, seed=seed, **settings)
        session.on_end = lambda message: self.messages.append((session.id, message))
        await self.engine.open(session)
        return session

    def prompt(self, clip):
        from genie.play_server.session import clip_prompt

        return clip_prompt(self.game.clips, clip, self.game.world)

    async def act(self, *moves):
        """moves: (session, action); all in one tick."""
        for session, action in moves:
            session.hold(action)
        await self.engine.tick([session for session, _ in moves])


@pytest.fixture
def at_table(game):
    """at_table(coroutine function, **engine settings): runs it with a Table."""

    def run(function, **settings):
        async def main():
            table = Table(game, **settings)
            try:
                return await asyncio.wait_for(function(table), 60)
            finally:
                table.engine.worker.shutdown(wait=False)

        return asyncio.run(main())

    return run
