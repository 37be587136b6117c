"""The page on which clips are rated, and its server: one clip after the other, until enough or until Ctrl-C."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel

from data_modules.window_table import Window
from genie.curation.footage import Footage
from genie.curation.ratings import BEST, Ratings
from genie.page_app import add_page, moving_picture, page_app


@dataclass
class Session:
    """What the page works through. `order`: the windows as they are to be rated; `enough`: ratings to ask for."""

    footage: Footage
    ratings: Ratings
    order: list[Window]
    enough: int

    def waiting(self) -> list[int]:
        """Numbers, in `order`, of the windows without a rating that were not skipped either."""
        return [number for number, window in enumerate(self.order) if window not in self.ratings.values]

    def state(self) -> dict[str, Any]:
        """What the page shows. `clip`: the number of the one to rate, None after the last; `next`: of the one after."""
        clip, following, *_ = [*self.waiting(), None, None]
        given = self.ratings.given
        counts = Counter(given.values())
        return {
            "clip": clip,
            "next": following,
            "where": None if clip is None else self.where(self.order[clip]),
            "rated": len(given),
            "skipped": len(self.ratings.values) - len(given),
            "enough": self.enough,
            "counts": [counts[rating] for rating in range(1, BEST + 1)],
            "file": str(self.ratings.path),
        }

    def where(self, window: Window) -> str:
        """The window in words."""
        path = self.footage.readers[window.part].path
        return f"{path.name}, frames {window.first:,} to {window.stop - 1:,}"


class Rating(BaseModel):
    """What the page says. `rating`: None skips the clip."""

    clip: int
    rating: Literal[1, 2, 3, 4, 5] | None


def create_app(session: Session, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address. One request at a time: nothing waits in between."""
    app = page_app(loopback)

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return session.state()

    @app.get("/clips/{number}.png")
    async def clip(number: int) -> Response:
        if not 0 <= number < len(session.order):
            raise HTTPException(404, "there is no such clip")
        content = moving_picture(session.footage.frames(session.order[number]), session.footage.fps)
        return Response(content, media_type="image/png", headers={"cache-control": "max-age=3600"})

    @app.post("/rate")
    async def rate(given: Rating) -> dict[str, Any]:
        if given.clip in session.waiting():  # not rated on another page meanwhile
            session.ratings.rate(session.order[given.clip], given.rating)
        return session.state()

    @app.post("/undo")
    async def undo() -> dict[str, Any]:
        session.ratings.undo()
        return session.state()

    add_page(app, "genie.curation")
    return app
