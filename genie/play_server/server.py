"""Web server of genie.play: the page, downloads of a session, and a WebSocket for each player."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Response, WebSocket, WebSocketDisconnect

from genie.common.errors import UserError, reason
from genie.common.media import to_bytes
from genie.common.settings.kinds import Range
from genie.common.shipped import as_typed
from genie.common.web import Guard, add_page, animated_png
from genie.play_server.engine import Engine, ServerFullError
from genie.play_server.labels import Action
from genie.play_server.messages import SEED, check_recording, frame_message, hold, parse, settle, state_message
from genie.play_server.session import (
    Frame,
    Prompt,
    Session,
    clip_prompt,
    encode_png,
    picture_prompt,
    prompt_from,
    session_json,
    session_mp4,
    session_recording,
)
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import Prompter
from genie.prompts.text_to_image import require_text
from genie.world.sampler_choice import Samplers
from genie.world.world_model import WorldModel

if TYPE_CHECKING:
    from genie.play_server.real_game import RealGame

SEND_SECONDS = 20  # without progress, after which a connection counts as dead


class Outbox:
    """Unsent messages to one browser: the newest text of each type, and of the newest rollout the frames of the prompt
    and the last generated one, however slowly the browser reads."""

    def __init__(self) -> None:
        self.texts: dict[str, dict[str, Any]] = {}
        self.frames: list[Frame] = []
        self.filled = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        """Adds a message, in place of an earlier one of its type."""
        self.texts[message["type"]] = message
        self.filled.set()

    def put_frame(self, frame: Frame) -> None:
        """Adds a frame, in place of earlier ones that were not sent, except the prompt's and those shown again."""
        kept = (old for old in self.frames if old.rollout == frame.rollout and (old.action is None or old.again))
        self.frames = [*kept, frame]
        self.filled.set()

    def notice(self, message: str) -> None:
        self.put({"type": "notice", "message": message})

    def end(self, message: str) -> None:
        self.put({"type": "end", "message": message})

    async def take(self) -> tuple[list[str | bytes], bool]:
        """Waits for messages; returns them as text or binary, and whether the last one is among them."""
        await self.filled.wait()
        self.filled.clear()
        texts, frames, self.texts, self.frames = self.texts, self.frames, {}, []
        last = texts.pop("end", None)
        messages: list[str | bytes] = [json.dumps(message) for message in texts.values()]
        messages += [frame_message(frame) for frame in frames]
        return messages + ([json.dumps(last)] if last else []), last is not None


@dataclass
class Game:
    """The parts that all sessions share. `clips`: None for missing data. `takes_text`: whether prompts may be texts."""

    run: str
    world: WorldModel  # for its properties: only the engine's thread steps it
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
    effect_frames: int = 0  # of the pictures that show what an action does; 0: none
    has_game: bool = False  # whether the data name an environment, which may be played beside the world

    def __post_init__(self) -> None:
        # Work on pictures, videos and files blocks neither the event loop nor the model.
        self.files = ThreadPoolExecutor(1, thread_name_prefix="files")
        # Texts are drawn one after the other, at most one for each session, while play continues.
        self.drawer = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self.drawings: dict[str, asyncio.Task] = {}
        self.effects: asyncio.Future[list[bytes]] | None = None

    async def aside(self, function: Callable, *arguments: Any) -> Any:
        """Runs a slow function in the thread of files."""
        return await asyncio.get_running_loop().run_in_executor(self.files, function, *arguments)

    def new_session(self, outbox: Outbox) -> Session:
        session = Session(
            self.prompt, self.samplers.own, self.idle, self.fps, self.seed, max_frames=self.max_frames,
            on_frame=outbox.put_frame, on_end=outbox.end,
        )  # fmt: skip
        session.on_pause = lambda: outbox.put(state_message(session))
        return session

    def welcome(self, session: Session) -> dict[str, Any]:
        height, width = self.world.image_size
        return {
            "type": "welcome", "session": session.id, "run": as_typed(self.run), "width": width, "height": height,
            "actions": [asdict(action) for action in self.actions], "idle": self.idle,
            "clips": None if self.clips is None else len(self.clips), "takes_text": self.takes_text,
            "samplers": self.samplers.names, "max_frames": self.max_frames, "max_upload": self.max_upload,
            "effects": self.effect_frames > 0, "has_game": self.has_game,
        }  # fmt: skip

    def real_game(self) -> "RealGame":
        """The environment of the data, for one session. Raises UserError where it is not known."""
        from genie.play_server.real_game import NO_GAME, RealGame, true_actions

        if self.clips is None:
            raise UserError("the data of this world are not there")
        if not self.has_game:
            raise UserError(NO_GAME)
        names = self.clips.info.action_meanings or []
        actions = true_actions(self.world, [action.label for action in self.actions], names)
        return RealGame(self.clips, self.world.config["data"], actions, self.seed)

    async def effect(self, action: int) -> Response:
        """A looping picture of what an action does when it is held, from the first prompt."""
        if self.effects is None:
            self.effects = asyncio.ensure_future(self._effects())
        try:
            pictures = await asyncio.shield(self.effects)
        except Exception:
            self.effects = None  # the next page asks again
            raise
        return Response(pictures[action], media_type="image/png")

    async def _effects(self) -> list[bytes]:
        frames = await self.engine.effects(self.prompt, self.effect_frames, self.seed, self.samplers.own)
        return await self.aside(lambda: [animated_png(each, self.fps) for each in frames])


def create_app(game: Game, loopback: bool = True) -> FastAPI:
    """The server of one world; `loopback`: it is bound to a loopback address."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        ticking = asyncio.create_task(game.engine.run())
        yield
        ticking.cancel()
        for worker in (game.files, game.drawer):
            worker.shutdown(wait=False, cancel_futures=True)

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

    @app.get("/actions/{index}.png")
    async def effect(index: int) -> Response:
        if not game.effect_frames or not 0 <= index < len(game.actions):
            raise HTTPException(404, "there is no such picture")
        return await game.effect(index)

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
            if (drawing := game.drawings.get(session.id)) is not None:  # the model itself is not interrupted
                drawing.cancel()
                with suppress(asyncio.CancelledError):
                    await drawing
            game.engine.close(session)
            for task in (sending, playing):
                # its error, such as a lost connection, is no news: others were logged where they happened
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
                task.cancel()
            await asyncio.wait([sending, playing])
        with suppress(Exception):  # closed already, or dead
            await asyncio.wait_for(socket.close(), 1)

    add_page(app, "genie.play_server", "page")
    return app


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    """Sends the content of the outbox, until the last message or the end of the connection."""
    last = False
    while not last:
        messages, last = await outbox.take()
        for message in messages:
            send = socket.send_text if isinstance(message, str) else socket.send_bytes
            await asyncio.wait_for(send(message), SEND_SECONDS)
    await socket.close()


async def _play(socket: WebSocket, game: Game, session: Session, outbox: Outbox) -> None:
    """Handles messages of the player, until the connection or the session ends."""
    try:
        # before the first frame, whose size the page has to know
        outbox.put(game.welcome(session))
        outbox.put(state_message(session))
        real = partial(_real, game, outbox) if socket.query_params.get("real") == "1" else None
        source = socket.query_params.get("fork")
        if source is None:
            await game.engine.open(session, real)
        elif await game.engine.fork(source, session, real):
            outbox.put(state_message(session))
        else:
            await game.engine.open(session, real)
            outbox.notice("the session to go on from has ended: this one begins anew")
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            game.engine.touch(session)
            try:
                await _answer(game, session, message, outbox)
            except UserError as error:
                outbox.notice(str(error))
    except ServerFullError as error:
        outbox.texts.clear()
        outbox.end(str(error))
    except (WebSocketDisconnect, asyncio.CancelledError):
        raise
    except Exception:
        logging.getLogger(__name__).exception("a session ended by an error")
        outbox.end("something went wrong in the server, and this session has ended")


async def _real(game: Game, outbox: Outbox) -> "RealGame | None":
    """The real game for a session; None, and a notice, where there is none."""
    try:
        return await game.aside(game.real_game)
    except Exception as error:  # of an environment, whichever it is: the world is played without it
        outbox.notice(f"without the real game: {reason(error)}")
        return None


async def _answer(game: Game, session: Session, received: dict[str, Any], outbox: Outbox) -> None:
    """Handles one message. Raises UserError for an invalid one."""
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
            _begin_drawing(game, session, message, outbox)
            return
        case "reset":
            seed, prompt = _seed(session, message), session.prompt
            if "clip" in message:
                if game.clips is None:
                    raise UserError("the data of this world is not there: choose a picture of your own")
                index = Range(0, len(game.clips) - 1).require("clip", message["clip"])
                prompt = await game.aside(clip_prompt, game.clips, index, game.world)
            await game.engine.reset(session, prompt, seed)
        case "back":
            newest = len(session.given) + len(session.made) - 1
            number = Range(0, newest).require("number", message.get("number"))
            if message.get("rollout") == session.rollout and number < newest:  # else it went back already
                await game.engine.back(session, newest - number)
            number = len(session.given) + len(session.made) - 1
            outbox.put({"type": "back", "rollout": session.rollout, "number": number})
            session.show_again(1)
        case "replay":
            recording = session_recording(message.get("session"), "the replay")
            check_recording(recording, session.max_frames)
            prompt = await game.aside(prompt_from, recording.prompt, game.world)
            await game.engine.replay(session, recording, prompt)
        case "settings":
            settle(session, message, game.samplers)
            game.engine.hurry(session)
        case other:
            raise UserError(f"there is no message of type {other[:40]!r}")
    outbox.put(state_message(session))


def _begin_drawing(game: Game, session: Session, message: dict[str, Any], outbox: Outbox) -> None:
    """Starts again from a text, once it is drawn."""
    if not game.takes_text:
        raise UserError("this server draws no texts: it was started without text_model=")
    if not isinstance(message["text"], str):
        raise UserError("text must be a text")
    seed, text = _seed(session, message), require_text(message["text"])
    if session.id in game.drawings:
        raise UserError("your last text is still being drawn: wait for it")
    task = game.drawings[session.id] = asyncio.create_task(_draw(game, session, text, seed, outbox))
    task.add_done_callback(lambda _: game.drawings.pop(session.id, None))
    outbox.notice("your text is being drawn: play on until it is there")


async def _draw(game: Game, session: Session, text: str, seed: int, outbox: Outbox) -> None:
    try:
        frames = await asyncio.get_running_loop().run_in_executor(game.drawer, game.prompter.text, text, seed)
        await game.engine.reset(session, picture_prompt(frames), seed)
        outbox.put(state_message(session))
    except UserError as error:
        outbox.notice(str(error))
    except Exception:
        logging.getLogger(__name__).exception("a text could not be drawn")
        outbox.notice("something went wrong in the server, and the text was not drawn")


def _seed(session: Session, message: dict[str, Any]) -> int:
    return SEED.require("seed", message.get("seed", session.seed))
