"""What the pages on which clips are shown and rated share: the server around them, and a clip as a moving picture."""

import io
from collections.abc import Awaitable, Callable
from importlib.resources import files

import numpy as np
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.responses import FileResponse, JSONResponse, Response

from genie.errors import UserError
from genie.guard import Guard
from genie.serving import STYLE, page_file

SHARED = STYLE | {"rating.js": "genie", "rating.css": "genie"}  # beside the files of a page


def page_app(loopback: bool) -> FastAPI:
    """A server without any page yet, that says a UserError as JSON; `loopback`: it is bound to a loopback address."""
    # no generated documentation: it would load scripts from other hosts
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, loopback=loopback)

    @app.exception_handler(UserError)
    async def refuse(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=500)

    return app


def add_page(app: FastAPI, package: str) -> None:
    """Sends the folder page/ of a package, behind all routes that there are already."""
    for name, home in SHARED.items():
        app.add_api_route(f"/{name}", _sender(home, name), methods=["GET", "HEAD"])
    app.mount("/", StaticFiles(directory=str(files(package) / "page"), html=True))


def moving_picture(frames: np.ndarray, fps: float) -> Response:
    """An animated PNG of frames uint8 [T, H, W, 3] that loops: exact, and every browser shows it. It never changes."""
    first, *others = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, format="png", save_all=True, append_images=others, duration=1000 / fps, loop=0, compress_level=1)
    return Response(file.getvalue(), media_type="image/png", headers={"cache-control": "max-age=3600"})


def _sender(package: str, name: str) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(page_file(package, name))

    return send
