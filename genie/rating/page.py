"""The page on which two segments are compared, and its server: one pair after the other, until enough or Ctrl-C."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI, HTTPException, Response
from pydantic import BaseModel

from data_modules.frame_reader import FrameReader
from genie.page_app import add_page, moving_picture, page_app
from genie.rating.pairs import BETTER, Pair, Preferences, where

SIDES = ("this", "other")  # shown on the left and on the right


@dataclass
class Session:
    """What the page works through: `order`, the pairs; `enough`, verdicts to ask for; `fps` at which they are shown."""

    readers: dict[str, FrameReader]
    preferences: Preferences
    order: list[Pair]
    enough: int
    fps: float

    def waiting(self) -> list[int]:
        """Numbers, in `order`, of the pairs of which nothing was said, and which were not skipped either."""
        return [number for number, pair in enumerate(self.order) if pair not in self.preferences.values]

    def state(self) -> dict[str, Any]:
        """What the page shows. `pair`: the number of the one to rate, None after the last; `next`: of the one after."""
        pair, following, *_ = [*self.waiting(), None, None]
        given = self.preferences.given
        counts = Counter(given.values())
        shown = None if pair is None else self.order[pair]
        return {
            "pair": pair,
            "next": following,
            "where": shown and f"{where(shown.this)} or {where(shown.other)}",
            "rated": len(given),
            "skipped": len(self.preferences.values) - len(given),
            "enough": self.enough,
            "counts": {better: counts[better] for better in BETTER},
            "file": str(self.preferences.path),
        }


class Verdict(BaseModel):
    """What the page says. `better`: None skips the pair."""

    pair: int
    better: Literal["this", "equal", "other"] | None


def create_app(session: Session, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address. One request at a time: nothing waits in between."""
    app = page_app(loopback)

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return session.state()

    @app.get("/pairs/{number}/{side}.png")
    async def segment(number: int, side: str) -> Response:
        if not 0 <= number < len(session.order) or side not in SIDES:
            raise HTTPException(404, "there is no such segment")
        window = getattr(session.order[number], side)
        frames = session.readers[window.part].frames(window.first, window.stop)
        content = moving_picture(frames, session.fps)
        return Response(content, media_type="image/png", headers={"cache-control": "max-age=3600"})

    @app.post("/rate")
    async def rate(given: Verdict) -> dict[str, Any]:
        if given.pair in session.waiting():  # not rated on another page meanwhile
            session.preferences.give(session.order[given.pair], given.better)
        return session.state()

    @app.post("/undo")
    async def undo() -> dict[str, Any]:
        session.preferences.undo()
        return session.state()

    add_page(app, "genie.rating")
    return app
