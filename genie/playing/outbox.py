"""What waits to be sent to one browser. However slowly it reads, little waits: of each kind the newest."""

import asyncio
import json
from typing import Any

from genie.playing.protocol import frame_message
from genie.playing.session import Frame


class Outbox:
    """Texts by type, and the frames of the newest rollout: all of its prompt, the last of those that were made."""

    def __init__(self) -> None:
        self.texts: dict[str, dict[str, Any]] = {}
        self.frames: list[Frame] = []
        self.filled = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        """A message; it takes the place of an earlier one of its type."""
        self.texts[message["type"]] = message
        self.filled.set()

    def put_frame(self, frame: Frame) -> None:
        """A frame; earlier ones that were not sent yet are left out, but for the prompt's."""
        self.frames = [old for old in self.frames if old.rollout == frame.rollout and old.action is None] + [frame]
        self.filled.set()

    def end(self, message: str) -> None:
        """The last message."""
        self.put({"type": "end", "message": message})

    async def take(self) -> tuple[list[str | bytes], bool]:
        """Waits for something to send, as text or binary, and whether it is the last."""
        await self.filled.wait()
        self.filled.clear()
        texts, frames, self.texts, self.frames = self.texts, self.frames, {}, []
        last = texts.pop("end", None)
        messages: list[str | bytes] = [json.dumps(message) for message in texts.values()]
        messages += [frame_message(frame) for frame in frames]
        return messages + ([json.dumps(last)] if last else []), last is not None
