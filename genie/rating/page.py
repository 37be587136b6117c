"""The page on which two segments are compared, and its server: one pair after the other, until enough or Ctrl-C."""

from dataclasses import dataclass

from fastapi import FastAPI, HTTPException, Response

from data_modules.frame_reader import FrameReader
from genie.common.web import add_page, moving_picture, page_app
from genie.rating.pairs import BETTER, Pair, Preferences, where
from genie.rating_app import RatingSession, add_rating

SIDES = ("this", "other")  # shown on the left and on the right


@dataclass
class Session(RatingSession):
    """Pairs of segments of `readers`; `fps` at which they are shown."""

    readers: dict[str, FrameReader]
    answers: Preferences
    order: list[Pair]
    enough: int
    fps: float
    choices = tuple(BETTER)

    def where(self, thing: Pair) -> str:
        return f"{where(thing.this)} or {where(thing.other)}"


def create_app(session: Session, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address."""
    app = page_app(loopback)
    add_rating(app, session)

    @app.get("/pairs/{number}/{side}.png")
    async def segment(number: int, side: str) -> Response:
        if not 0 <= number < len(session.order) or side not in SIDES:
            raise HTTPException(404, "there is no such segment")
        window = getattr(session.order[number], side)
        return moving_picture(session.readers[window.part].frames(window.first, window.stop), session.fps)

    add_page(app, "genie.rating")
    return app
