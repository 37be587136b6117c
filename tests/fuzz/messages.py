"""What a page may send to the play server: any text, any bytes, in any order.

After each message the session is asked for its state. It has to answer, and to say that nothing has changed where it
said that the message could not be used; a message that it took has to show in the state. In the end one frame is made.
"""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from genie.common.settings.schema import typed
from genie.play_server.play import load_game
from genie.play_server.server import create_app
from genie.play_server.session import decode_png, read_session
from tests.fuzz import goods
from tests.fuzz.harness import SilentChange, damaged, mutated, odd_value
from tests.fuzz.prompts import picture_file

HOST = "127.0.0.1:8000"
GOOD: tuple[dict[str, Any], ...] = (
    {"type": "hold", "action": 1, "press": 3},
    {"type": "hold", "action": None},
    {"type": "pause", "paused": True},
    {"type": "step"},
    {"type": "reset"},
    {"type": "reset", "seed": 3, "clip": 1},
    {"type": "reset", "text": "a red platform"},
    {"type": "settings", "fps": 20, "sampler": "maskgit", "steps": 2, "temperature": 1, "sketch": True},
    {"type": "settings", "sampler": "greedy"},
    {"type": "settings", "sketch": False},
)


class Messages:
    """A server, and a player who says odd things to it."""

    def __init__(self, folder: Path) -> None:
        run = goods.write_run(folder / "outputs" / "world", goods.write_data(folder / "data"))
        game = load_game(
            typed("play", goods.configuration("play", f"run={run}", "device=cpu", "steps=2", "play.max_upload=1"))
        )
        self.game, self.file = game, folder / "session.json"
        self.client = TestClient(create_app(game), base_url=f"http://{HOST}").__enter__()
        self.session = self._played()

    def close(self) -> None:
        self.client.__exit__(None, None, None)

    def example(self, chance: random.Random, note: Callable[[str], None]) -> None:
        if chance.random() < 0.15:
            return self._session_file(chance, note)
        with self.client.websocket_connect(f"ws://{HOST}/ws", headers={"origin": f"http://{HOST}"}) as socket:
            page = Page(socket)
            page.until_state()
            for _ in range(chance.choice((1, 2, 3, 6))):
                message = odd_message(chance, note)
                by = chance.choice(("fps", "temperature"))
                before = page.asked(by)
                socket.send({"type": "websocket.receive", **message})
                after = page.asked(by)
                self._compare(message, before, after, page.notices)
            socket.send_text('{"type": "settings", "steps": 1, "sampler": "greedy"}')
            page.frame()
        if chance.random() < 0.1:
            self._addresses(chance, note, page.id)

    def _compare(self, message: dict[str, Any], before: dict, after: dict, notices: list[str]) -> None:
        changed = {name: (before[name], after[name]) for name in after if after[name] != before[name]}
        if notices:
            if any("\n" in notice or not notice.strip() for notice in notices):
                raise SilentChange(f"a notice of several lines: {notices}")
            if changed:
                raise SilentChange(f"{notices[-1]!r} was said, and the state changed: {changed}")
        elif message.get("text") is not None:
            sent = json.loads(message["text"])
            names = {"settings": ("fps", "steps", "temperature", "sketch", "sampler"), "reset": ("seed", "clip")}
            for name in names.get(sent["type"], ()):
                if name in sent and name in after and (type(sent[name]) is list or after[name] != sent[name]):
                    raise SilentChange(f"{name}={sent[name]!r} was taken without a word, and is {after[name]!r}")

    def _addresses(self, chance: random.Random, note: Callable[[str], None], session: str) -> None:
        odd = chance.choice(("-1", "0", "1", "99999999999999999999", "x", "%00", "1.5", session, "../../etc/passwd"))
        address = chance.choice((f"/clips/{odd}.png", f"/sessions/{odd}/session.json", f"/sessions/{odd}/session.mp4"))
        note(f"GET {address}")
        status = self.client.get(address).status_code
        if status >= 500:
            raise SilentChange(f"{address} is answered with {status}")

    # -- session files ------------------------------------------------------------------------------------------

    def _played(self) -> dict[str, Any]:
        with self.client.websocket_connect(f"ws://{HOST}/ws", headers={"origin": f"http://{HOST}"}) as socket:
            page = Page(socket)
            page.until_state()
            page.frame()
            return self.client.get(f"/sessions/{page.id}/session.json").json()

    def _session_file(self, chance: random.Random, note: Callable[[str], None]) -> None:
        """A session that was saved, changed, and read as `genie.generate replay=` does."""
        from genie.play_server.generate import _replayed

        text = json.dumps(mutated(chance, self.session, note)).encode()
        self.file.write_bytes(damaged(chance, text, note) if chance.random() < 0.3 else text)
        recording = read_session(self.file)
        frames, _ = _replayed(recording, self.game.world, str(self.file))
        if frames.shape[1:] != (3, *goods.SIZE) or len(recording.samplers) != len(recording.actions):
            raise SilentChange(f"frames {list(frames.shape)}, {len(recording.samplers)} samplers")


def odd_message(chance: random.Random, note: Callable[[str], None]) -> dict[str, Any]:
    """{"text": …} or {"bytes": …}."""
    match chance.randrange(10):
        case 0 | 1:
            content = picture_file(chance, note)[0]
            content = damaged(chance, content, note) if chance.random() < 0.5 else content
            note(f"{len(content)} bytes are sent")
            return {"bytes": content}
        case 2:
            text = damaged(chance, json.dumps(chance.choice(GOOD)).encode(), lambda _: None).decode("utf-8", "replace")
        case 3:
            deep = chance.choice((10, 1000, 2000))
            text = chance.choice(
                ("[" * deep, '{"type":' * (deep // 2), "[" * deep + "]" * deep, "1" * 4000, "9" * 4097)
            )
        case 4:
            text = json.dumps(odd_value(chance))
        case _:
            message = dict(chance.choice(GOOD))
            for _ in range(chance.choice((0, 1, 1, 2))):
                message[chance.choice(sorted({*message, "seed", "clip", "fps", "text"}))] = odd_value(chance)
            text = json.dumps(message)
    note(f"sent {text[:150]!r}")
    return {"text": text}


class Page:
    """The other end."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.count, self.id, self.notices = socket, 0, "", []

    def receive(self) -> dict[str, Any] | bytes:
        message = self.socket.receive()
        if message["type"] == "websocket.close":
            raise SilentChange(f"the server closed the connection: {message}")
        if message.get("bytes") is not None:
            return message["bytes"]
        content = json.loads(message["text"])
        match content["type"]:
            case "welcome":
                self.id = content["session"]
            case "notice":
                self.notices.append(content["message"])
            case "end":
                raise SilentChange(f"the session was ended: {content['message']}")
        return content

    def until_state(self) -> dict[str, Any]:
        while True:
            content = self.receive()
            if isinstance(content, dict) and content["type"] == "state":
                return content

    def asked(self, by: str) -> dict[str, Any]:
        """The state but for the setting `by`, which gets a new value to tell this answer from earlier ones.

        The session is paused. `notices` are those that came up to then.
        """
        self.notices = []
        self.count += 1
        value = 1 + self.count / 1000
        self.socket.send_text('{"type": "pause", "paused": true}')
        self.socket.send_text(json.dumps({"type": "settings", by: value}))
        while True:
            state = self.until_state()
            shown = {name: state[name] for name in ("fps", "seed", "clip", "sketch")} | state["sampler"]
            if shown.pop(by) == value:
                return shown | {"sampler": shown.pop("name")}

    def frame(self) -> None:
        """Asks for one frame and waits until it is there."""
        self.socket.send_text('{"type": "step"}')
        while True:
            content = self.receive()
            if isinstance(content, bytes):
                (length,) = struct.unpack(">I", content[:4])
                header = json.loads(content[4 : 4 + length])
                if decode_png(content[4 + length :]).shape != (*goods.SIZE, 3):
                    raise SilentChange("a frame of another size")
                if header["action"] is not None:
                    return
