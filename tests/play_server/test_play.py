"""`python -m genie.play`: what it prints, what it refuses, how it ends."""

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from genie.common import shipped
from genie.common.errors import UserError
from genie.common.web import Loading, address, bind, is_loopback
from genie.play_server.play import load_game, play
from genie.world.sampler import Sampler


def start(*overrides, **options):
    arguments = [sys.executable, "-m", "genie.play", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, **{**pipes, **options})


def test_it_prints_one_address_serves_and_ends_by_ctrl_c(world_run):
    process = start(f"run={world_run}", "play.port=0", "device=cpu")
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        page = b""
        connection.request("GET", "/")
        assert b"Loading the world" in connection.getresponse().read()  # the address is there before the world
        deadline = time.time() + 120
        while b"<canvas" not in page:
            assert time.time() < deadline
            time.sleep(0.2)
            connection.request("GET", "/")
            page = connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0 and out == ""
    said = err.splitlines()
    assert said[0] == f"loading the world of {world_run} …" and said[-1] == "stopped" and len(said) <= 3


def test_what_is_loaded_has_the_name_that_was_typed(play_config, world_run, monkeypatch, capsys):
    monkeypatch.setitem(shipped.TYPED, str(world_run), "pretrained/pong")
    monkeypatch.setattr("genie.common.web.serve", lambda app, *arguments: print(app.what))
    play(play_config("play.port=0"))
    assert capsys.readouterr().out.splitlines()[1] == "the world of pretrained/pong"


def test_a_taken_port_is_one_line(play_config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1:{port}.*play\.port=0") as error:
            play(play_config(f"play.port={port}"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run=nowhere", "run=nowhere holds no trained world: there is no such folder"),
        ("play.port=-1", "play.port=-1"),
        ("play.port=99999", "play.port=99999"),
        ("play.host=no.such.host.invalid", "play.host=no.such.host.invalid"),
        ("play.idle=1.5", "play.idle=1.5"),
        ("play.max_sessions=0", "play.max_sessions=0"),
        ("play.idle_seconds=0", "play.idle_seconds=0"),
        ("play.max_upload=0", "play.max_upload=0"),
        ("play.threads=0", "play.threads=0"),
        ("fps=0", "fps=0"),
        ("fps=1000", "fps=1000"),
        ("seed=-1", "seed=-1"),
        ("prompt=nowhere.png", "is not there"),
        ("steps=0", "steps=0"),
        ("device=abacus", "device=auto"),
        ("terminal=1", "terminal=1"),
        ("terminal=true", "needs a terminal"),
    ],
)
def test_wrong_values_are_one_line_before_the_address(play_config, override, message, monkeypatch, capsys):
    monkeypatch.setattr("genie.common.web.serve", lambda *arguments: pytest.fail("it was served"))
    with pytest.raises(UserError, match=message) as error:
        play(play_config("play.port=0", override))
    assert "\n" not in str(error.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("play.idle=3", "play.idle=3"),
        ("play.actions={7: up}", "there is no action 7"),
        ("play.actions=up", "play.actions=up"),
        ("prompt_clip=1000000", "prompt_clip=1000000"),
    ],
)
def test_what_only_the_world_can_tell_is_wrong_ends_the_server_in_one_line(play_config, override, message, capsys):
    with pytest.raises(UserError, match=message) as error:
        play(play_config("play.port=0", override))
    printed = capsys.readouterr()
    assert "\n" not in str(error.value) and printed.out.startswith("http://")
    assert printed.err.startswith("loading the world of") and len(printed.err.splitlines()) == 1


def test_while_it_loads_the_page_says_so(capsys):
    """And afterwards it is that of the app, with its own lifespan; its visitors are guarded from the beginning."""
    begin, events = threading.Event(), []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        events.append("starts")
        yield
        events.append("ends")

    def build(loopback):
        assert begin.wait(60)
        return Starlette(routes=[Route("/", lambda request: PlainTextResponse(f"{loopback}"))], lifespan=lifespan)

    with TestClient(Loading(build, True, "<the world>"), base_url="http://127.0.0.1") as client:
        page = client.get("/")
        assert page.status_code == 200 and "Loading &lt;the world&gt;" in page.text
        for name in re.findall(r'(?:href|src)="([^"]+)"', page.text):
            assert client.get(f"/{name}").status_code == 200  # it has a style before the app is there to send it
        assert client.get("/app.js").status_code == 503
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
            pass
        assert not events
        begin.set()
        deadline = time.time() + 60
        while client.get("/").text != "True":
            assert time.time() < deadline
        assert events == ["starts"]
    assert events == ["starts", "ends"]
    printed = capsys.readouterr().err.splitlines()  # among the log of a client, where another test has turned it on
    assert printed[0] == "loading <the world> …" and any(line.startswith("ready after ") for line in printed)


def test_who_else_can_play_is_said(play_config, monkeypatch, capsys):
    served = []
    monkeypatch.setattr("genie.common.web.serve", lambda app, *arguments: served.append(app))
    play(play_config("play.port=0"))
    assert capsys.readouterr().err == ""
    play(play_config("play.port=0", "play.host=0.0.0.0"))
    printed = capsys.readouterr()
    assert "warning: play.host=0.0.0.0" in printed.err and printed.out.startswith("http://127.0.0.1:")
    assert [app.loopback for app in served] == [True, False]


def test_addresses():
    with bind("127.0.0.1", 0, "play") as listener:
        port = listener.getsockname()[1]
        assert address("127.0.0.1", listener) == f"http://127.0.0.1:{port}"
        assert address("::1", listener) == f"http://[::1]:{port}"
    assert all(map(is_loopback, ["127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.1.2", "example.com", "127.example.com", ""]))


def test_the_settings_reach_the_game(play_config, tmp_path):
    game = load_game(
        play_config(
            "fps=7",
            "seed=4",
            "sampler=greedy",
            "play.actions=[a,b,c]",
            "play.idle=2",
            "play.threads=1",
            "prompt_clip=3",
        )
    )
    assert (game.fps, game.seed, game.idle, game.threads, game.prompt.source["clip"]) == (7, 4, 2, 1, 3)
    assert game.samplers.own == game.samplers.named("run") == Sampler(1, 0.0)
    assert [action.label for action in game.actions] == ["a", "b", "c"]
    assert game.samplers.names[0] == "run" and "maskgit" in game.samplers.names


def test_names_come_from_the_evaluation_of_the_run(play_config, world_run, monkeypatch):
    (world_run / "evaluation").mkdir(exist_ok=True)
    file = world_run / "evaluation" / "evaluation.json"
    file.write_text('{"lam": {"confusion": [[0, 0, 9], [9, 0, 0], [0, 9, 0]]}}')
    try:
        game = load_game(play_config())
    finally:
        file.unlink()
    assert [action.label for action in game.actions] == ["down", "noop", "up"] and game.idle == 1
