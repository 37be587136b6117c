"""Texts that players want to see: a model draws them, one after the other, while everybody plays on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from torch import Tensor

from genie.common.errors import UserError


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
