"""Rating pages: answers in a file, the session of a page, and its requests (see genie/common/page/rating.js)."""

from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from data_modules.annotations import Table, Window, write_table


class Answers:
    """Answers about things, in a file of windows that is whole after each of them.

    `values`: in the order in which they were given, None where a thing was skipped. `data`: the identity of each part.
    Every method that writes raises UserError where the file cannot be written.
    """

    columns: tuple[str, ...]

    def __init__(self, path: Path, data: dict[str, dict]) -> None:
        self.path, self.data = path, data
        self.values: dict[Any, Any] = {}

    def row(self, thing: Any, value: Any) -> tuple[Window, dict[str, str]]:
        """The window and the other columns of a line of the file."""
        raise NotImplementedError

    @property
    def given(self) -> dict[Any, Any]:
        return {thing: value for thing, value in self.values.items() if value is not None}

    def give(self, thing: Any, value: Any) -> None:
        """Adds an answer as the newest; None skips the thing."""
        self.write({other: kept for other, kept in self.values.items() if other != thing} | {thing: value})

    def undo(self) -> Any:
        """Removes the newest answer and returns its thing; None where there is none."""
        if not self.values:
            return None
        *older, newest = self.values
        self.write({thing: self.values[thing] for thing in older})
        return newest

    def write(self, values: dict[Any, Any] | None = None) -> None:
        """Writes the file, with other values where they are given."""
        values = self.values if values is None else values
        write_table(self.path, Table(self.data, dict(self.row(*answer) for answer in values.items())), self.columns)
        self.values = values


class RatingSession:
    """The things of a page: `order`, `choices` of answers, `enough`, the number of answers to ask for."""

    order: list[Any]
    choices: tuple[int | str, ...]
    answers: Answers
    enough: int

    def where(self, thing: Any) -> str:
        """A thing in words."""
        raise NotImplementedError

    def waiting(self) -> list[int]:
        """Numbers, in `order`, of the things that were neither answered nor skipped."""
        return [number for number, thing in enumerate(self.order) if thing not in self.answers.values]

    def state(self) -> dict[str, Any]:
        """The content of the page. `number`: of the thing to rate, None after the last; `next`: of the one after."""
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
    """An answer of the page about the thing `number`. `value`: None skips it."""

    number: int
    value: int | str | None


def add_rating(app: FastAPI, session: RatingSession) -> None:
    """The requests of the page. Coroutines without an await: they are handled one at a time."""

    @app.get("/state")
    async def state() -> dict[str, Any]:
        return session.state()

    @app.post("/rate")
    async def rate(given: Given) -> dict[str, Any]:
        if given.value not in (None, *session.choices):
            raise HTTPException(422, f"{given.value!r} is none of {', '.join(map(str, session.choices))}")
        if given.number in session.waiting():  # else it was rated on another page meanwhile
            session.answers.give(session.order[given.number], given.value)
        return session.state()

    @app.post("/undo")
    async def undo() -> dict[str, Any]:
        session.answers.undo()
        return session.state()
