"""Play server: pages, messages, downloads.

What waits to be sent to one browser. However slowly it reads, little waits: of each kind the newest.

Texts that players want to see: a model draws them, one after the other, while everybody plays on.

The web server: the page, pictures of prompts, downloads of a session, and a WebSocket for each player.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, HTTPException, Response, WebSocket, WebSocketDisconnect
from fastapi.staticfiles import StaticFiles
from torch import Tensor

from genie.common.errors import UserError
from genie.common.media import to_bytes
from genie.common.web import Guard
from genie.play_server.engine import Engine, ServerFullError
from genie.play_server.labels import Action
from genie.play_server.messages import LARGEST_SEED, frame_message, hold, parse, settle, state_message, whole
from genie.play_server.session import (
    Frame,
    Prompt,
    Session,
    clip_prompt,
    encode_png,
    picture_prompt,
    session_json,
    session_mp4,
)
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import Prompter
from genie.prompts.text_to_image import require_text
from genie.world.sampler_choice import Samplers
from genie.world.world_model import WorldModel


class Outbox:
    """Texts by type, and the frames of the newest rollout: all of its prompt, the last of those that were made."""

    def __init__(self) -> None:
        self.texts: dict[str, dict[str, Any]] = {}
        self.frames: list[Frame] = []
        self.filled = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        """A message; it takes the place of an earlier one of its type."""
        self.texts[message["type"]] = message
        self.filled.set()

    def put_frame(self, frame: Frame) -> None:
        """A frame; earlier ones that were not sent yet are left out, but for the prompt's."""
        self.frames = [old for old in self.frames if old.rollout == frame.rollout and old.action is None] + [frame]
        self.filled.set()

    def end(self, message: str) -> None:
        """The last message."""
        self.put({"type": "end", "message": message})

    async def take(self) -> tuple[list[str | bytes], bool]:
        """Waits for something to send, as text or binary, and whether it is the last."""
        await self.filled.wait()
        self.filled.clear()
        texts, frames, self.texts, self.frames = self.texts, self.frames, {}, []
        last = texts.pop("end", None)
        messages: list[str | bytes] = [json.dumps(message) for message in texts.values()]
        messages += [frame_message(frame) for frame in frames]
        return messages + ([json.dumps(last)] if last else []), last is not None


class Drawings:
    """At most one for each session.

    `draw(text, seed)` gives the frames of a prompt; it runs in a thread of its own and may raise UserError.
    """

    def __init__(self, draw: Callable[[str, int], Tensor]) -> None:
        self.draw = draw
        self.tasks: dict[str, asyncio.Task] = {}
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="drawing")

    def begin(
        self, id: str, text: str, seed: int, use: Callable[[Tensor], Awaitable[None]], tell: Callable[[str], None]
    ) -> None:
        """Draws a text for the session `id`: its frames go to `use`, what went wrong, in one line, to `tell`.

        Raises UserError while the session's last one is not done.
        """
        if id in self.tasks:
            raise UserError("your last text is still being drawn: wait for it")
        task = asyncio.create_task(self._draw(text, seed, use, tell))
        self.tasks[id] = task
        task.add_done_callback(lambda _: self.tasks.pop(id, None))

    async def _draw(self, text: str, seed: int, use: Callable[[Tensor], Awaitable[None]], tell: Callable[[str], None]):
        try:
            await use(await asyncio.get_running_loop().run_in_executor(self.worker, self.draw, text, seed))
        except UserError as error:
            tell(str(error))
        except Exception:
            logging.getLogger(__name__).exception("a text could not be drawn")
            tell("something went wrong in the server, and the text was not drawn")

    async def cancel(self, id: str) -> None:
        """The session has ended: nothing of it is used any more. What is being drawn is drawn to its end."""
        if (task := self.tasks.get(id)) is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """No more are drawn."""
        self.worker.shutdown(wait=False, cancel_futures=True)


SEND_SECONDS = 20  # a connection that takes nothing for so long is dead


@dataclass
class Game:
    """What all sessions of a server share. `clips`: None where the run's data is not there. `takes_text`: whether
    players may write what they want to see."""

    run: str
    world: WorldModel  # its facts: only the engine's thread steps it
    engine: Engine
    actions: list[Action]
    idle: int
    fps: float
    seed: int
    prompt: Prompt
    samplers: Samplers
    clips: PromptClips | None
    prompter: Prompter
    takes_text: bool
    threads: int
    max_frames: int
    max_upload: int  # bytes

    def __post_init__(self) -> None:
        # Pictures, videos and files: neither on the event loop nor in the model's way.
        self.files = ThreadPoolExecutor(1, thread_name_prefix="files")
        self.drawings = Drawings(self.prompter.text)

    async def aside(self, function: Callable, *arguments: Any) -> Any:
        """Runs a function that takes a while."""
        return await asyncio.get_running_loop().run_in_executor(self.files, function, *arguments)

    def new_session(self, outbox: Outbox) -> Session:
        """A session as every player gets it."""
        return Session(
            self.prompt, self.samplers.own, self.idle, self.fps, self.seed, max_frames=self.max_frames,
            on_frame=outbox.put_frame, on_end=outbox.end,
        )  # fmt: skip

    def welcome(self, session: Session) -> dict[str, Any]:
        """The first message."""
        height, width = self.world.image_size
        return {
            "type": "welcome",
            "session": session.id,
            "run": self.run,
            "width": width,
            "height": height,
            "actions": [asdict(action) for action in self.actions],
            "idle": self.idle,
            "clips": None if self.clips is None else len(self.clips),
            "takes_text": self.takes_text,
            "samplers": self.samplers.names,
            "max_frames": self.max_frames,
            "max_upload": self.max_upload,
        }


def create_app(game: Game, loopback: bool = True) -> FastAPI:
    """The server of one world; `loopback`: it is bound to a loopback address."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ticking = asyncio.create_task(game.engine.run())
        yield
        ticking.cancel()
        game.files.shutdown(wait=False, cancel_futures=True)
        game.drawings.close()

    # no generated documentation: it would load scripts from other hosts
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, loopback=loopback)

    def session_of(id: str) -> Session:
        session = game.engine.sessions.get(id)
        if session is None:
            raise HTTPException(404, "this session has ended")
        game.engine.touch(session)
        return session

    @app.get("/sessions/{id}/session.json")
    async def saved(id: str) -> dict[str, Any]:
        return session_json(session_of(id), game.run, [action.label for action in game.actions], game.threads)

    @app.get("/sessions/{id}/session.mp4")
    async def video(id: str) -> Response:
        session = session_of(id)
        content = await game.aside(session_mp4, session.given + session.made, session.fps)
        return Response(content, media_type="video/mp4")

    @app.get("/clips/{index}.png")
    async def clip(index: int) -> Response:
        if game.clips is None or not 0 <= index < len(game.clips):
            raise HTTPException(404, "there is no such clip")
        frames, _ = await game.aside(game.clips.__getitem__, index)
        picture = encode_png(to_bytes(frames[-1]))
        return Response(picture, media_type="image/png", headers={"cache-control": "max-age=3600"})

    @app.websocket("/ws")
    async def play(socket: WebSocket) -> None:
        await socket.accept()
        outbox = Outbox()
        session = game.new_session(outbox)
        sending = asyncio.create_task(_send(socket, outbox))
        playing = asyncio.create_task(_play(socket, game, session, outbox))
        try:
            await asyncio.wait([sending, playing], return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() and "end" in outbox.texts:
                await asyncio.wait([sending], timeout=SEND_SECONDS)
        finally:
            await game.drawings.cancel(session.id)
            game.engine.close(session)
            for task in (sending, playing):
                task.add_done_callback(_forget_error)
                task.cancel()
            await asyncio.wait([sending, playing])
        with contextlib.suppress(Exception):  # it is closed already, or takes nothing any more
            await asyncio.wait_for(socket.close(), 1)

    app.mount("/", StaticFiles(directory=str(files("genie.play_server") / "page"), html=True))
    return app


def _forget_error(task: asyncio.Task) -> None:
    """A connection that is gone is no news; other errors were logged where they happened."""
    if not task.cancelled():
        task.exception()


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    """Everything that is put into the outbox, until the last message or the end of the connection."""
    last = False
    while not last:
        messages, last = await outbox.take()
        for message in messages:
            send = socket.send_text if isinstance(message, str) else socket.send_bytes
            await asyncio.wait_for(send(message), SEND_SECONDS)
    await socket.close()


async def _play(socket: WebSocket, game: Game, session: Session, outbox: Outbox) -> None:
    """Does what the player says, until the connection or the session ends."""
    try:
        # before the first frame, which needs a page that knows its size
        outbox.put(game.welcome(session))
        outbox.put(state_message(session))
        await game.engine.open(session)
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            game.engine.touch(session)
            try:
                await _answer(game, session, message, outbox)
            except UserError as error:
                outbox.put({"type": "notice", "message": str(error)})
    except ServerFullError as error:
        outbox.texts.clear()
        outbox.end(str(error))
    except (WebSocketDisconnect, asyncio.CancelledError):
        raise
    except Exception:
        logging.getLogger(__name__).exception("a session ended by an error")
        outbox.end("something went wrong in the server, and this session has ended")


async def _answer(game: Game, session: Session, received: dict[str, Any], outbox: Outbox) -> None:
    """Does what one message says. Raises UserError for what cannot be done."""
    if received.get("bytes") is not None:
        if len(received["bytes"]) > game.max_upload:
            raise UserError(f"the file is larger than {game.max_upload / 2**20:g} MB: make it smaller")
        read = game.prompter.sketch if session.sketch else game.prompter.file
        frames = await game.aside(read, received["bytes"], "the file")
        await game.engine.reset(session, picture_prompt(frames), session.seed)
        outbox.put(state_message(session))
        return
    message = parse(received["text"])
    match message["type"]:
        case "hold":
            hold(session, message, len(game.actions))
            return
        case "pause":
            if not isinstance(message.get("paused"), bool):
                raise UserError("paused must be true or false")
            session.paused, session.singles = message["paused"], 0
            game.engine.hurry(session)
        case "step":
            session.paused, session.singles = True, 1
            game.engine.hurry(session)
        case "reset" if "text" in message:
            _draw(game, session, message, outbox)
            return
        case "reset":
            await _reset(game, session, message)
        case "settings":
            settle(session, message, game.samplers)
            game.engine.hurry(session)
        case other:
            raise UserError(f"there is no message of type {other[:40]!r}")
    outbox.put(state_message(session))


async def _reset(game: Game, session: Session, message: dict[str, Any]) -> None:
    seed = whole(message, "seed", 0, LARGEST_SEED) if "seed" in message else session.seed
    prompt = session.prompt
    if "clip" in message:
        if game.clips is None:
            raise UserError("the data of this world is not there: choose a picture of your own")
        index = whole(message, "clip", 0, len(game.clips) - 1)
        prompt = await game.aside(clip_prompt, game.clips, index, game.world)
    await game.engine.reset(session, prompt, seed)


def _draw(game: Game, session: Session, message: dict[str, Any], outbox: Outbox) -> None:
    """Begins again from a text, once it is drawn."""
    if not game.takes_text:
        raise UserError("this server draws no texts: it was started without text_model=")
    if not isinstance(message["text"], str):
        raise UserError("text must be a text")
    seed = whole(message, "seed", 0, LARGEST_SEED) if "seed" in message else session.seed

    async def use(frames: Tensor) -> None:
        await game.engine.reset(session, picture_prompt(frames), seed)
        outbox.put(state_message(session))

    def tell(text: str) -> None:
        outbox.put({"type": "notice", "message": text})

    game.drawings.begin(session.id, require_text(message["text"]), seed, use, tell)
    tell("your text is being drawn: play on until it is there")
