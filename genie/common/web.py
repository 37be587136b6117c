"""Local web servers of commands: socket, access guard, loading page, and shared parts of pages.

Browsers send any page's requests to a loopback address with the user's rights, so WebSockets and all requests that
change something are refused where `Origin` names another server than `Host` does. DNS rebinding (a hostile name that
resolves to 127.0.0.1) makes the two agree: a server on a loopback address answers to loopback names only.

`section` is the group of a command's configuration with the keys host and port.
"""

import asyncio
import contextlib
import html
import io
import ipaddress
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genie.common.errors import UserError
from genie.common.settings.commands import Page

READS = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
PROGRESS_SECONDS = 1.0  # between two updates of the loading line
STYLE = ("style.css", "icon.svg")  # files of every page, in genie/common/page/
WAITING = (*STYLE, "loading.css", "loading.js")  # of the loading page
SHARED = (*STYLE, "rating.js", "rating.css")  # of the pages that show and rate clips
OTHER_MESSAGES = 64 * 1024  # bytes above the largest upload, so that a slightly larger one gets an answer


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, can only mean this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware; `loopback`: the server is bound to a loopback address."""

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self.app, self.loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = self.refusal(scope)
        if reason is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "http":
            await PlainTextResponse(reason, status_code=403)(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": reason})  # before accepting: HTTP 403

    def refusal(self, scope: Scope) -> str | None:
        """The reason to refuse a request, None to accept it."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self.loopback and not is_loopback(_name(host)):
            return "this server answers to the loopback address only"
        if scope["type"] == "http" and scope["method"] in READS:
            return None
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return "requests from other pages are refused"
        return None


def _name(host: str) -> str:
    """`host` without its port."""
    return host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending


def serve_page(
    build: Callable[[bool], Any], settings: Page, section: str, max_upload: int = 0, what: str = "the data"
) -> None:
    """Prints the address as soon as a socket listens there, and serves until Ctrl-C.

    build: makes the app, given whether the address is a loopback one. It runs beside the server, which until then
    serves a page, and prints a line on stderr, that it is loading `what`.
    max_upload: bytes. Raises UserError where the address cannot be used, and what `build` raises.
    """
    host = settings.host
    with bind(host, settings.port, section) as listener:
        loopback = is_loopback(host)
        if not loopback:
            print(f"warning: {section}.host={host} lets in all who reach this machine: no password", file=sys.stderr)
        print(address(host, listener), flush=True)
        app = Loading(build, loopback, what)
        serve(app, listener, max_upload)
        if app.error is not None:
            raise app.error


class Loading:
    """ASGI app that serves a loading page while `build` makes the real app in a thread, and then forwards to that.

    `error`: what `build` raised; then `stop` is called, which ends the server.
    """

    def __init__(self, build: Callable[[bool], Any], loopback: bool, what: str) -> None:
        self.build, self.loopback, self.what = build, loopback, what
        self.stop: Callable[[], None] = lambda: None
        self.error: BaseException | None = None
        self.app: Any = Starlette(middleware=[Middleware(Guard, loopback=loopback)], lifespan=self._lifespan)
        self.app.mount("/", self._wait)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        name = scope["path"].strip("/")
        if name == "":
            page = _page_file("loading.html").read_text(encoding="utf-8")
            answer: Response = HTMLResponse(page.format(what=html.escape(self.what)))
        elif name in WAITING:
            answer = FileResponse(_page_file(name))
        else:
            answer = Response(status_code=503, headers={"retry-after": "1"})
        await answer(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, waiting: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            loading = asyncio.create_task(self._load(stack))
            yield
            loading.cancel()
            await asyncio.wait([loading])

    async def _load(self, stack: contextlib.AsyncExitStack) -> None:
        """Replaces the loading page by the built app, with its own lifespan."""
        loop, built = asyncio.get_running_loop(), asyncio.Event()
        made: list[Any] = []

        def work() -> None:
            try:
                made.append(self.build(self.loopback))
            except BaseException as error:
                self.error = error
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(built.set)

        # a daemon: Ctrl-C need not wait for it
        threading.Thread(target=work, name="loading", daemon=True).start()
        started = time.monotonic()
        while not built.is_set():
            self._print_progress(time.monotonic() - started)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(built.wait(), PROGRESS_SECONDS)
        if self.error is not None:
            self._print_progress(None)
            self.stop()
            return
        await stack.enter_async_context(made[0].router.lifespan_context(made[0]))
        self.app = made[0]
        self._print_progress(None)
        print(f"ready after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)

    def _print_progress(self, seconds: float | None) -> None:
        """Prints the time so far, None: loading is over. In a terminal the line is updated, elsewhere printed once."""
        text = "" if seconds is None else f"loading {self.what}: {seconds:.0f} s"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif seconds is not None and seconds < PROGRESS_SECONDS / 2:
            print(f"loading {self.what} …", file=sys.stderr, flush=True)


def _page_file(name: str) -> Path:
    return Path(str(files("genie.common"))) / "page" / name


def bind(host: str, port: int, section: str) -> socket.socket:
    """A listening socket. Raises UserError where the address cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise UserError(f"{section}.host={host} is not an address of this machine ({error.strerror})") from error
        way = f"give another {section}.port=, or {section}.port=0 for a free one"
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}): {way}") from error


def address(host: str, listener: socket.socket) -> str:
    """The URL for a browser on this machine."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def web_server(app: Any, max_upload: int) -> uvicorn.Server:
    """The server of an app, which accepts messages of a little more than `max_upload` bytes."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on",
        ws_max_size=max_upload + OTHER_MESSAGES, ws_per_message_deflate=False,  # images are compressed already
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Any, listener: socket.socket, max_upload: int) -> None:
    """Serves until Ctrl-C."""
    try:
        server = web_server(app, max_upload)
        if isinstance(app, Loading):
            app.stop = lambda: setattr(server, "should_exit", True)
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again once everything is closed
        print("stopped", file=sys.stderr)


def page_app(loopback: bool) -> FastAPI:
    """An app without pages that answers a UserError as JSON; `loopback`: it is bound to a loopback address."""
    # no generated documentation: it would load scripts from other hosts
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, loopback=loopback)

    @app.exception_handler(UserError)
    async def refuse(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=500)

    return app


def add_page(app: FastAPI, package: str, folder: str) -> None:
    """Serves a folder of a package and the `SHARED` files; routes that exist already take precedence."""
    for name in SHARED:
        app.add_api_route(f"/{name}", _sender(name), methods=list(READS))
    app.mount("/", StaticFiles(directory=str(files(package) / folder), html=True))


def moving_picture(frames: np.ndarray, fps: float) -> Response:
    """`animated_png`, cacheable."""
    headers = {"cache-control": "max-age=3600"}
    return Response(animated_png(frames, fps), media_type="image/png", headers=headers)


def animated_png(frames: np.ndarray, fps: float) -> bytes:
    """A looping animated PNG of frames uint8 [T, H, W, 3]: lossless, shown by every browser."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, format="png", save_all=True, append_images=others, duration=1000 / fps, loop=0, compress_level=1)
    return file.getvalue()


def _sender(name: str) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(_page_file(name))

    return send
