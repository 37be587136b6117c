"""Rating pages and their server.

What the pages on which something is rated have in common: what waits, what is known of it, what the page says.

The other end of these requests is `genie/page/rating.js`.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel


class Answers(Protocol):
    """What was said of things, in a file that is whole after each of them. `values`: in the order in which they were
    given, None where a thing was skipped; `given`: without those."""

    path: Path
    values: dict[Any, Any]

    @property
    def given(self) -> dict[Any, Any]: ...

    def give(self, thing: Any, value: Any) -> None: ...

    def undo(self) -> Any: ...


class RatingSession:
    """What a page works through: `order`, things; `choices`, what may be said of one; `enough`, answers to ask for."""

    order: list[Any]
    choices: tuple[int | str, ...]
    answers: Answers
    enough: int

    def where(self, thing: Any) -> str:
        """A thing in words."""
        raise NotImplementedError

    def waiting(self) -> list[int]:
        """Numbers, in `order`, of the things of which nothing was said, and which were not skipped either."""
        return [number for number, thing in enumerate(self.order) if thing not in self.answers.values]

    def state(self) -> dict[str, Any]:
        """What the page shows. `number`: of the thing to rate, None after the last; `next`: of the one after."""
        number, following, *_ = [*self.waiting(), None, None]
        given = self.answers.given
        counts = Counter(given.values())
        return {
            "number": number,
            "next": following,
            "where": None if number is None else self.where(self.order[number]),
            "rated": len(given),
            "skipped": len(self.answers.values) - len(given),
            "enough": self.enough,
            "counts": {choice: counts[choice] for choice in self.choices},
            "file": str(self.answers.path),
        }


class Given(BaseModel):
    """What the page says of the thing `number`. `value`: None skips it."""

    number: int
    value: int | str | None


def add_rating(app: FastAPI, session: RatingSession) -> None:
    """The requests of the page. One at a time: nothing waits in between."""

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return session.state()

    @app.post("/rate")
    async def rate(given: Given) -> dict[str, Any]:
        if given.value not in (None, *session.choices):
            raise HTTPException(422, f"{given.value!r} is none of {', '.join(map(str, session.choices))}")
        if given.number in session.waiting():  # not rated on another page meanwhile
            session.answers.give(session.order[given.number], given.value)
        return session.state()

    @app.post("/undo")
    async def undo() -> dict[str, Any]:
        session.answers.undo()
        return session.state()
