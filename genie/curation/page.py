"""The page on which clips are rated, and its server: one clip after the other, until enough or until Ctrl-C."""

from dataclasses import dataclass

from fastapi import FastAPI, HTTPException, Response

from data_modules.annotations import Window
from genie.common.web import add_page, moving_picture, page_app
from genie.curation.footage import Footage
from genie.curation.ratings import BEST, Ratings
from genie.rating_app import RatingSession, add_rating


@dataclass
class Session(RatingSession):
    """Windows of `footage`, as they are to be rated."""

    footage: Footage
    answers: Ratings
    order: list[Window]
    enough: int
    choices = tuple(range(1, BEST + 1))

    def where(self, thing: Window) -> str:
        path = self.footage.readers[thing.part].path
        return f"{path.name}, frames {thing.first:,} to {thing.stop - 1:,}"


def create_app(session: Session, loopback: bool = True) -> FastAPI:
    """The server; `loopback`: it is bound to a loopback address."""
    app = page_app(loopback)
    add_rating(app, session)

    @app.get("/clips/{number}.png")
    async def clip(number: int) -> Response:
        if not 0 <= number < len(session.order):
            raise HTTPException(404, "there is no such clip")
        return moving_picture(session.footage.frames(session.order[number]), session.footage.fps)

    add_page(app, "genie.curation")
    return app
