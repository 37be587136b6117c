"""The server: what a page gets, what is refused, and what no message can do to it."""

import contextlib
import io
import json
import struct
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from genie.common.errors import UserError
from genie.play_server import server
from genie.play_server.labels import Action
from genie.play_server.play import load_game
from genie.play_server.real_game import NO_GAME, has_game, true_actions
from genie.play_server.server import Outbox, create_app
from genie.play_server.session import Frame, decode_png
from genie.world.world_model import WorldModel

HOST = "127.0.0.1:8000"
SOCKET = f"ws://{HOST}/ws"


class Page:
    """What the browser does."""

    def __init__(self, socket):
        self.socket, self.world, self.state, self.notices, self.frames, self.real = socket, None, None, [], [], []

    def send(self, **message):
        self.socket.send_text(json.dumps(message))

    def receive(self):
        """One message: its type, "frame" for a frame."""
        message = self.socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message.get("code", 1000))
        if message.get("bytes") is not None:
            data = message["bytes"]
            (length,) = struct.unpack(">I", data[:4])
            header, pictures = json.loads(data[4 : 4 + length]), data[4 + length :]
            self.frames.append((header, decode_png(pictures[: header["length"]])))
            if len(pictures) > header["length"]:
                self.real.append((header["number"], decode_png(pictures[header["length"] :])))
            return "frame"
        content = json.loads(message["text"])
        match content["type"]:
            case "welcome":
                self.world = content
            case "state":
                self.state = content
            case "back":
                self.went_back = content
            case "notice":
                self.notices.append(content["message"])
            case "end":
                self.ending = content["message"]
        return content["type"]

    def until(self, kind, limit=200):
        for _ in range(limit):
            if self.receive() == kind:
                return
        raise AssertionError(f"no {kind} came")

    def back(self, number):
        """Goes back to a frame."""
        self.send(type="back", rollout=self.frames[-1][0]["rollout"], number=number)
        self.until("back")

    def play(self, count):
        """Until `count` more frames were generated."""
        made = 0
        while made < count:
            made += self.receive() == "frame" and self.frames[-1][0]["action"] is not None


@pytest.fixture
def serve(load):
    """serve(*overrides): a client of a running server."""
    with contextlib.ExitStack() as stack:

        def build(*overrides, loopback=True):
            game = load(*overrides)
            client = stack.enter_context(TestClient(create_app(game, loopback), base_url=f"http://{HOST}"))
            client.sessions = game.engine.sessions
            return client

        yield build


@pytest.fixture(scope="module")
def plain_client(play_config):
    """A server for tests that change nothing of it."""
    game = load_game(play_config("steps=2", "fps=50"))
    with TestClient(create_app(game), base_url=f"http://{HOST}") as client:
        yield client


@contextlib.contextmanager
def page(client, query="", **headers):
    with client.websocket_connect(SOCKET + query, headers={"origin": f"http://{HOST}", **headers}) as socket:
        page = Page(socket)
        page.until("state")
        yield page


def png(width, height, color=(10, 200, 30), mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (width, height), color).save(file, format="png")
    return file.getvalue()


def test_a_page_plays(serve):
    client = serve()
    with page(client) as mine:
        assert mine.world["width"] == 64 and [a["index"] for a in mine.world["actions"]] == [0, 1, 2]
        mine.send(type="hold", action=2, press=1)
        mine.play(4)
        mine.send(type="hold", action=None, press=2)
        while mine.frames[-1][0]["press"] < 2:
            mine.play(1)
        given = [header for header, _ in mine.frames if header["action"] is None]
        made = [header for header, _ in mine.frames if header["action"] is not None]
        assert [header["number"] for header in given] == [0, 1, 2, 3]
        assert {header["action"] for header in made if header["press"] == 1} == {2}
        assert made[-1]["action"] == mine.world["idle"] and made[-1]["passes"] == 2
        assert all(picture.shape == (64, 64, 3) for _, picture in mine.frames)


def test_settings_seed_and_clip(serve):
    with page(serve()) as mine:
        mine.send(type="settings", fps=25, sampler="greedy")
        mine.until("state")
        assert mine.state["fps"] == 25
        assert mine.state["sampler"] == {
            "name": "greedy", "steps": 1, "temperature": 0.0, "order": "confidence", "entropy_bound": None
        }  # fmt: skip
        mine.send(type="settings", steps=3, temperature=0.5)
        mine.until("state")
        assert (mine.state["sampler"]["steps"], mine.state["sampler"]["temperature"]) == (3, 0.5)
        mine.send(type="reset", seed=9, clip=4)
        mine.until("state")
        assert (mine.state["seed"], mine.state["clip"]) == (9, 4)
        mine.send(type="pause", paused=True)
        mine.until("state")
        assert mine.state["paused"]


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"origin": "http://elsewhere.example"}, "another page"),
        ({"origin": "null"}, "a page without an address"),
        ({"origin": "http://127.0.0.1:9000"}, "another server here"),
        ({"origin": "http://rebound.example:8000", "host": "rebound.example:8000"}, "a name that was rebound"),
    ],
)
def test_other_pages_are_refused(plain_client, headers, why):
    client = plain_client
    with pytest.raises(WebSocketDisconnect), page(client, **headers):
        pass
    assert client.post("/", headers=headers).status_code == 403


def test_names_of_the_server(serve):
    client = serve()
    for host, status in {
        HOST: 200,
        "localhost:1": 200,
        "[::1]:8000": 200,
        "evil.example": 403,
        "127.evil.com": 403,
    }.items():
        assert client.get("/", headers={"host": host}).status_code == status, host
    elsewhere = serve(loopback=False)  # bound to another address, it cannot know its names
    assert elsewhere.get("/", headers={"host": "player.example"}).status_code == 200
    with pytest.raises(WebSocketDisconnect), page(elsewhere, host="player.example", origin="http://evil.example"):
        pass


def test_the_page_comes_whole_and_from_here_alone(plain_client):
    client = plain_client
    html = client.get("/").text
    for name in ("app.js", "style.css", "icon.svg"):
        assert name in html and client.get(f"/{name}").status_code == 200
        assert "://" not in client.get(f"/{name}").text.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in html and "default-src 'self'" in client.get("/").headers["content-security-policy"]
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"hold"', '{"type": 3}', '{"type": "fly"}', "[" * 4000, "x" * 5000,
        '{"type": "hold", "action": 3}', '{"type": "hold", "action": -1}', '{"type": "hold", "action": true}',
        '{"type": "hold", "action": 1, "press": 1e99}', '{"type": "pause"}', '{"type": "pause", "paused": 1}',
        '{"type": "settings", "fps": 0}', '{"type": "settings", "fps": NaN}', '{"type": "settings", "fps": "fast"}',
        '{"type": "settings", "steps": 0}', '{"type": "settings", "steps": 1000000000}',
        '{"type": "settings", "temperature": -1}', '{"type": "settings", "sampler": "../secret"}',
        '{"type": "settings", "sampler": []}', '{"type": "reset", "seed": -1}', '{"type": "reset", "clip": 1000000}',
        '{"type": "reset", "clip": "0"}', '{"type": "settings", "sketch": 1}',
    ],
)  # fmt: skip
def test_bad_messages_are_answered_and_the_session_goes_on(plain_client, text):
    with page(plain_client) as mine:
        before = mine.state
        mine.socket.send_text(text)
        mine.until("notice")
        assert "\n" not in mine.notices[-1]
        mine.send(type="pause", paused=False)
        mine.until("state")
        assert mine.state == before
        mine.play(1)


def test_an_own_picture(serve):
    with page(serve()) as mine:
        mine.socket.send_bytes(png(300, 170))
        mine.until("state")
        assert mine.state["clip"] is None
        rollout = 2
        while mine.frames[-1][0]["rollout"] < rollout:
            mine.until("frame")
        first = next(frame for frame in mine.frames if frame[0]["rollout"] == rollout)
        assert first[0]["number"] == 0 and first[1].shape == (64, 64, 3) and (first[1] == (10, 200, 30)).all()
        mine.play(2)


def test_an_own_clip_gives_as_many_frames_as_a_prompt_has(serve, tmp_path):
    levels = [10, 80, 150, 220, 250]
    pictures = [Image.new("RGB", (64, 64), (level,) * 3) for level in levels]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    with page(serve("prompt_frames=3")) as mine:
        mine.socket.send_bytes((tmp_path / "a.gif").read_bytes())
        while mine.frames == [] or mine.frames[-1][0]["rollout"] < 2:
            mine.until("frame")
        mine.play(1)
        given = [picture for header, picture in mine.frames if header["rollout"] == 2 and header["action"] is None]
        assert [int(picture.mean()) for picture in given] == levels[:3]


def test_a_drawing_gets_the_colours_of_the_world(serve):
    image = Image.new("RGB", (640, 640), "white")
    ImageDraw.Draw(image).rectangle((560, 200, 579, 299), fill="black")
    file = io.BytesIO()
    image.save(file, format="png")
    with page(serve()) as mine:
        assert mine.state["sketch"] is False
        mine.send(type="settings", sketch=True)
        mine.until("state")
        assert mine.state["sketch"] is True
        mine.socket.send_bytes(file.getvalue())
        while mine.frames == [] or mine.frames[-1][0]["rollout"] < 2:
            mine.until("frame")
        first = next(picture for header, picture in mine.frames if header["rollout"] == 2)
        assert np.abs(first[50, 30].astype(int) - (144, 72, 17)).max() <= 2  # the field of Pong, not paper
        assert (first[21:29, 56] != first[50, 30]).any(-1).all() and first.max() < 250
        mine.socket.send_bytes(png(64, 64))
        mine.until("notice")
        assert "nothing is drawn" in mine.notices[-1]


class Painter:
    """A text-to-image model that waits until it may draw."""

    def __init__(self):
        self.may, self.asked = threading.Event(), []

    def __call__(self, text, size, seed):
        self.asked.append((text, size, seed))
        assert self.may.wait(30)
        if text == "nothing":
            raise UserError("there is nothing to see")
        return np.full((32, 32, 3), 200, dtype=np.uint8)


def test_a_text_is_drawn_while_the_world_goes_on(serve, monkeypatch):
    painter = Painter()
    monkeypatch.setattr("genie.prompts.prompt.load_text_to_image", lambda *arguments: painter)
    with page(serve("text_model=any")) as mine:
        assert mine.world["takes_text"]
        mine.send(type="reset", text=" a red platform ", seed=9)
        mine.until("notice")
        mine.play(3)
        assert mine.frames[-1][0]["rollout"] == 1
        mine.send(type="reset", text="another one")
        mine.until("notice")
        assert "still being drawn" in mine.notices[-1]
        painter.may.set()
        while mine.frames[-1][0]["rollout"] < 2:
            mine.until("frame")
        first = next(picture for header, picture in mine.frames if header["rollout"] == 2)
        assert (first == 200).all() and painter.asked == [("a red platform", (64, 64), 9)]
        mine.play(1)
        assert mine.state["seed"] == 9 and mine.state["clip"] is None
        for text, notice in (("nothing", "nothing to see"), ("  ", "1 to 500 characters"), (7, "must be a text")):
            mine.notices.clear()
            mine.send(type="reset", text=text)
            while not any(notice in one for one in mine.notices):
                mine.until("notice")


def test_leaving_while_a_text_is_drawn(serve, monkeypatch):
    painter = Painter()
    monkeypatch.setattr("genie.prompts.prompt.load_text_to_image", lambda *arguments: painter)
    client = serve("text_model=any")
    with page(client) as leaves:
        leaves.send(type="reset", text="lava")
        leaves.until("notice")
    painter.may.set()
    with page(client) as stays:
        stays.play(2)
        assert len(client.sessions) == 1


def test_without_a_model_there_are_no_texts(plain_client):
    with page(plain_client) as mine:
        assert mine.world["takes_text"] is False
        mine.send(type="reset", text="lava")
        mine.until("notice")
        assert "text_model=" in mine.notices[-1]


@pytest.mark.parametrize("picture", ["bomb", "large", "text", "broken", "nothing"])
def test_pictures_that_are_none_or_too_large(serve, picture):
    contents = {
        "bomb": lambda: png(9000, 9000, 1, "1"),  # 10 kB, 243 MB as colours
        "large": lambda: bytes(2**20 + 1),
        "text": lambda: b"<svg></svg>" * 10,
        "broken": lambda: png(64, 64)[:60],
        "nothing": lambda: b"",
    }
    content = contents[picture]()
    with page(serve("play.max_upload=1")) as mine:
        tracemalloc.start()
        mine.socket.send_bytes(content)
        mine.until("notice")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 30 * 2**20 and "\n" not in mine.notices[-1]
        mine.play(1)


def test_a_full_server_says_so_and_a_place_is_freed_by_leaving(serve):
    client = serve("play.max_sessions=1")
    with page(client), client.websocket_connect(SOCKET) as socket:
        late = Page(socket)
        late.until("end")
        assert "at most: 1" in late.ending and "play.max_sessions" in late.ending
        with pytest.raises(WebSocketDisconnect):
            late.receive()
    with page(client) as mine:
        mine.play(1)


def test_an_idle_session_is_told_and_closed(serve):
    with page(serve("play.idle_seconds=0.3")) as mine:
        mine.until("end")
        assert "nobody played" in mine.ending


def test_leaving_in_mid_frame_leaves_the_others(serve, monkeypatch):
    client, original = serve(), WorldModel.step

    def step(self, state, actions):
        time.sleep(0.05)
        return original(self, state, actions)

    monkeypatch.setattr(WorldModel, "step", step)
    with page(client) as stays:
        for _ in range(3):
            with page(client) as leaves:
                leaves.play(1)
        stays.play(3)
        deadline = time.time() + 5
        while time.time() < deadline and len(client.sessions) > 1:
            stays.play(1)
        assert len(client.sessions) == 1
    deadline = time.time() + 5
    while time.time() < deadline and client.sessions:
        time.sleep(0.01)
    assert not client.sessions


def test_an_error_in_the_world_ends_that_session_with_a_message(serve, monkeypatch):
    client, original = serve(), WorldModel.step

    def step(self, state, actions):
        if (actions == 2).any():
            raise RuntimeError("broken")
        return original(self, state, actions)

    monkeypatch.setattr(WorldModel, "step", step)
    with page(client) as good, page(client) as bad:
        bad.send(type="hold", action=2, press=1)
        bad.until("end")
        assert "ended" in bad.ending
        good.play(3)


def test_a_slow_reader_gets_the_newest_and_nothing_piles_up():
    outbox = Outbox()
    for number in range(4):
        outbox.put_frame(Frame(1, number, b"prompt"))
    for number in range(4, 5000):
        outbox.put_frame(Frame(1, number, b"frame", action=0))
        outbox.put({"type": "state", "number": number})
    assert [frame.number for frame in outbox.frames] == [0, 1, 2, 3, 4999] and len(outbox.texts) == 1
    outbox.put_frame(Frame(2, 0, b"prompt"))
    assert [frame.rollout for frame in outbox.frames] == [2]


def test_a_reader_that_takes_nothing_is_dropped(serve, monkeypatch):
    """Sending waits for the connection; the session does not wait for ever."""
    monkeypatch.setattr(server, "SEND_SECONDS", 0.2)

    async def stuck(self, data):
        import asyncio

        await asyncio.sleep(60)

    client = serve()
    monkeypatch.setattr(server.WebSocket, "send_bytes", stuck)
    with client.websocket_connect(SOCKET) as socket:
        mine = Page(socket)
        with pytest.raises(WebSocketDisconnect):
            mine.until("frame")


def test_thumbnails(plain_client):
    client = plain_client
    answer = client.get("/clips/3.png")
    assert decode_png(answer.content).shape == (64, 64, 3)
    for index in (-1, 10**6, "x"):
        assert client.get(f"/clips/{index}.png").status_code in (404, 422)
    assert client.get("/..%2f..%2fserver.py").status_code == 404


def test_keys_are_told_to_the_page(serve):
    with page(serve("play.actions={0: stay, 1: up, 2: down}")) as mine:
        actions = [Action(**{**action, "keys": tuple(action["keys"])}) for action in mine.world["actions"]]
        assert [action.keys for action in actions] == [("1",), ("2", "ArrowUp"), ("3", "ArrowDown")]
        assert mine.world["idle"] == 0


def test_downloads_are_of_the_session_alone(serve, read_video, tmp_path):
    client = serve()
    with page(client) as mine:
        mine.play(5)
        mine.send(type="pause", paused=True)
        mine.until("state")
        session = mine.world["session"]
        saved = client.get(f"/sessions/{session}/session.json").json()
        video = client.get(f"/sessions/{session}/session.mp4")
        (tmp_path / "session.mp4").write_bytes(video.content)
        frames, rate = read_video(tmp_path / "session.mp4")
        assert video.headers["content-type"] == "video/mp4"
        assert len(frames) == 4 + len(saved["actions"]) and frames.shape[1:] == (256, 256, 3) and rate == 50
        first = mine.frames[0][1].repeat(4, 0).repeat(4, 1).astype(int)
        assert np.abs(frames[0].astype(int) - first).mean() < 4
    time.sleep(0.1)
    assert client.get(f"/sessions/{session}/session.json").status_code == 404
    assert client.get("/sessions/guess/session.mp4").status_code == 404


def paused(mine, **prompt):
    """Pauses, and begins again: no frame is on its way."""
    mine.send(type="pause", paused=True)
    mine.until("state")
    mine.send(type="reset", **prompt)
    mine.until("state")


def saved(mine):
    return mine.client.get(f"/sessions/{mine.world['session']}/session.json").json()


def stepped(mine, action, count):
    """So many single frames under an action."""
    for _ in range(count):
        mine.send(type="hold", action=action)
        mine.send(type="step")
        mine.play(1)
    mine.send(type="hold", action=None)


def shown(mine):
    """{number: picture} of the newest rollout."""
    newest = max(header["rollout"] for header, _ in mine.frames)
    return {header["number"]: image for header, image in mine.frames if header["rollout"] == newest}


@pytest.mark.parametrize("count", [1, 3, 7, 40])
def test_a_way_back_is_the_way_that_was_gone(serve, count):
    """Through windows that began anew, and a sampler that changed: the same frames come again."""
    client = serve("play.max_sessions=3")
    with page(client) as mine:
        mine.client = client
        paused(mine, seed=3)
        stepped(mine, 2, 9)
        mine.send(type="settings", steps=3, temperature=1.0)
        stepped(mine, 1, 9)
        before, whole = shown(mine), saved(mine)
        total = max(before)
        assert total == 3 + 18
        left = max(3, total - count)
        mine.back(total - count if count < 30 else 0)
        assert mine.went_back["number"] == left and mine.went_back["rollout"] > mine.frames[-1][0]["rollout"]
        mine.until("frame")
        assert mine.frames[-1][0]["again"] and np.array_equal(mine.frames[-1][1], before[left])
        assert len(saved(mine)["actions"]) == left - 3
        mine.send(type="settings", steps=2, temperature=1.0)
        actions = [2] * 9 + [1] * 9
        for number in range(left + 1, total + 1):
            mine.send(type="settings", sampler="run")
            mine.send(type="settings", steps=2) if number <= 12 else mine.send(
                type="settings", steps=3, temperature=1.0
            )
            stepped(mine, actions[number - 4], 1)
        after = shown(mine)
        assert saved(mine) == whole  # samplers of what was forgotten are forgotten, too
        assert all(np.array_equal(after[number], before[number]) for number in range(left + 1, total + 1))
        for wrong in (-1, 1.5, "all", None, 99):
            mine.send(type="back", rollout=mine.frames[-1][0]["rollout"], number=wrong)
            mine.until("notice")
            assert "number=" in mine.notices[-1]
        mine.send(type="back", rollout=0, number=2)  # of what was forgotten already
        mine.until("back")
        assert mine.went_back["number"] == total


def test_a_fork_goes_on_from_where_the_other_is(serve):
    client = serve("play.max_sessions=2")
    with page(client) as mine:
        mine.client = client
        paused(mine)
        stepped(mine, 2, 7)
        with page(client, f"?fork={mine.world['session']}") as other:
            other.client = client
            for _ in range(11):
                other.until("frame")
            assert other.state["paused"] and other.world["session"] != mine.world["session"]
            assert all(np.array_equal(shown(other)[number], image) for number, image in shown(mine).items())
            stepped(mine, 1, 6)
            stepped(other, 1, 6)
            assert all(np.array_equal(shown(other)[number], image) for number, image in shown(mine).items())
            stepped(mine, 2, 1)
            stepped(other, 0, 1)
            assert saved(mine)["actions"][:-1] == saved(other)["actions"][:-1] and len(shown(other)) == 4 + 14
            assert client.get(f"/sessions/{other.world['session']}/session.mp4").status_code == 200
            with client.websocket_connect(f"{SOCKET}?fork={mine.world['session']}") as socket:
                third = Page(socket)
                third.until("end")
                assert "all places of this world are taken" in third.ending
    with page(client, "?fork=gone") as late:
        late.until("notice")
        assert "begins anew" in late.notices[-1]
        late.play(1)


def test_a_saved_session_is_played_again_until_somebody_acts(serve):
    client = serve()
    with page(client) as mine:
        mine.client = client
        paused(mine, seed=8, clip=2)
        stepped(mine, 2, 6)
        stepped(mine, 0, 6)
        session, before = saved(mine), shown(mine)
        mine.send(type="reset", seed=1, clip=0)
        mine.until("state")
        mine.send(type="replay", session=session)
        mine.until("state")
        assert (mine.state["seed"], mine.state["clip"], mine.state["paused"]) == (8, 2, False)
        mine.until("state")  # at its end it pauses
        assert mine.state["paused"]
        assert saved(mine) == session
        seen = shown(mine)
        assert len(seen) > 6 and all(np.array_equal(image, before[number]) for number, image in seen.items())
        mine.send(type="replay", session={**session, "actions": [2] * 500, "fps": 40})
        mine.until("state")
        mine.play(2)
        mine.send(type="hold", action=1)
        while mine.frames[-1][0]["action"] != 1:
            mine.play(1)
        for wrong, words in [
            ({**session, "actions": [0, 9]}, "action 9"), ({**session, "version": 9}, "version 9"),
            ({**session, "prompt": {"clip": 10**6, "frames": 4}}, "prompt_clip"), ({**session, "seed": "a"}, "damaged"),
            ("x", "not a session"), ({**session, "actions": [0] * 30_000}, "a session keeps 20,000 frames"),
            ({**session, "seed": 2**80}, "seed="), ({**session, "fps": 1e-9}, "fps="),
            ({**session, "samplers": [{"from": 0, "steps": 10**9, "temperature": 1.0}]}, "steps="),
            ({**session, "samplers": [{"from": 0, "steps": 2, "temperature": float("nan")}]}, "temperature="),
            ({**session, "samplers": [{"from": 0, "steps": 2, "temperature": 1.0}, {"from": 10**10}]}, "damaged"),
        ]:  # fmt: skip
            mine.send(type="replay", session=wrong)
            mine.until("notice")
            assert words in mine.notices[-1]


def test_each_action_shows_what_it_does(serve):
    client = serve("play.effect_frames=5", "fps=10")
    with page(client) as mine:
        assert mine.world["effects"]
        pictures = []
        for action in range(3):
            answer = client.get(f"/actions/{action}.png")
            with Image.open(io.BytesIO(answer.content)) as picture:
                assert (picture.n_frames, picture.size, picture.info["loop"]) == (5, (64, 64), 0)
                pictures.append([np.asarray(picture.convert("RGB")) for _ in range(5) if picture.seek(_) is None])
        assert not np.array_equal(pictures[0], pictures[1])
        assert client.get("/actions/3.png").status_code == 404
    assert serve("play.effect_frames=0").get("/actions/0.png").status_code == 404


def test_the_real_game_beside_the_world(serve):
    client = serve("play.actions={0: noop, 1: up, 2: down}", "play.max_sessions=3", "prompt_clip=5")
    with page(client, "?real=1") as mine:
        mine.client = client
        paused(mine)
        stepped(mine, 2, 8)
        down = dict(mine.real[-8:])
        assert list(down) == list(range(4, 12)) and down[4].shape == (64, 64, 3)
        mine.back(3)
        stepped(mine, 2, 3)
        assert all(np.array_equal(down[number], image) for number, image in mine.real[-3:])
        mine.back(3)
        mine.until("frame")
        assert mine.real[-1][0] == 3  # what the game shows there
        stepped(mine, 1, 8)
        assert not np.array_equal(down[11], mine.real[-1][1])
        before = len(mine.real)
        mine.socket.send_bytes(png(64, 64))  # no game begins from a picture
        mine.until("state")
        stepped(mine, 1, 2)
        assert len(mine.real) == before
    with page(serve("play.actions={0: stay, 1: up, 2: down}"), "?real=1") as other:
        other.until("notice")
        assert "without the real game: which action of the game 'stay' is" in other.notices[-1]
        other.play(1)


def test_data_that_name_no_environment_have_no_game(serve, monkeypatch):
    with page(serve()) as recorded:
        assert recorded.world["has_game"]
    monkeypatch.setattr("genie.play_server.real_game.recording_settings", lambda origin, data: None)
    with page(serve("play.actions={0: up}"), "?real=1") as mine:
        assert mine.world["has_game"] is False
        mine.until("notice")
        assert mine.notices == [f"without the real game: {NO_GAME}"] and "no game to play beside" in NO_GAME
        mine.play(1)


def test_a_game_is_that_of_recorded_episodes_with_actions(load, monkeypatch):
    game = load()
    data = game.world.config["data"]
    assert has_game(game.clips, data) and not has_game(None, data)
    monkeypatch.setattr(game.clips.clips, "reader", SimpleNamespace(columns=("actions",)))  # of videos
    assert not has_game(game.clips, data)


def test_latent_actions_of_a_game_without_names_are_told_apart_in_one_line(load):
    with pytest.raises(UserError, match="no names") as error:
        true_actions(load().world, ["up", "down", "stay"], [])
    assert "()" not in str(error.value) and "\n" not in str(error.value)


def test_a_real_game_that_breaks_harms_no_world(serve, monkeypatch):
    from genie.play_server.real_game import RealGame

    client = serve("play.actions={0: noop, 1: up, 2: down}", "play.max_sessions=2")
    with page(client, "?real=1") as mine:
        mine.client = client
        paused(mine)
        stepped(mine, 2, 3)
        assert len(mine.real) >= 3

        def broken(self, action):
            raise RuntimeError("the emulator is gone")

        monkeypatch.setattr(RealGame, "_next", broken)
        before = len(mine.real)
        stepped(mine, 2, 3)
        assert len(saved(mine)["actions"]) == 6 and len(mine.real) == before
        monkeypatch.undo()
        mine.back(4)  # it is played again
        mine.until("frame")
        stepped(mine, 1, 2)
        assert len(mine.real) == before + 3


def test_a_full_server_opens_no_real_game(serve, monkeypatch):
    from genie.play_server import server as module

    client = serve("play.max_sessions=1", "play.actions={0: noop, 1: up, 2: down}")
    opened = []
    monkeypatch.setattr(module.Game, "real_game", lambda self: opened.append(1))
    with page(client) as mine:
        mine.play(1)
        with client.websocket_connect(SOCKET + "?real=1") as socket:
            other = Page(socket)
            other.until("end")
    assert not opened


def test_pictures_of_actions_are_asked_for_again_after_an_error(serve, monkeypatch):
    from genie.play_server.engine import Worlds

    client, whole = serve("play.effect_frames=2"), Worlds.effects

    def broken(self, *arguments):
        raise MemoryError("no more")

    with page(client):
        monkeypatch.setattr(Worlds, "effects", broken)
        with pytest.raises(MemoryError):
            client.get("/actions/0.png")
        monkeypatch.setattr(Worlds, "effects", whole)
        answer = client.get("/actions/0.png")
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
