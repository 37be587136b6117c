"""Messages between the page and the server, over one WebSocket: /ws.

From the page, as JSON text:

    {"type": "hold", "action": 2, "press": 17}   holds an action until the next such message; null releases it
    {"type": "pause", "paused": true}
    {"type": "step"}                             pauses, and makes one frame
    {"type": "reset", "seed": 3, "clip": 12}     starts again; without "seed" or "clip" with the same one
    {"type": "reset", "text": "a red platform"}  likewise, once a model has drawn the text
    {"type": "back", "rollout": 1, "number": 30} pauses, and goes back to that frame, at most to the prompt's last one
    {"type": "replay", "session": {…}}           starts again and makes the moves of a session file, until a "hold"
    {"type": "settings", "fps": 10, "sampler": "maskgit", "steps": 12, "temperature": 1, "sketch": true}
                                                 any of these; a sampler's name sets all its settings
or as binary: the content of a picture or a video, to start from; a drawing while "sketch" is true.
A connection to /ws?fork=<id of a session> begins where that session is now, paused.

From the server, as JSON text:

    {"type": "welcome", "session": id, "run", "width", "height", "actions": [{"index", "label", "keys"}, …], "idle",
     "clips": 2987 | null, "takes_text", "samplers": [names], "max_frames", "max_upload",
     "effects": whether /actions/<index>.png shows what an action does,
     "has_game": whether /ws?real=1 has a game to show}                                        once, at first
    {"type": "state", "paused", "fps", "seed", "clip": 12 | null, "sketch",
     "sampler": {"name", "steps", "temperature", …}}
                                                 after every change
    {"type": "back", "rollout", "number"}        from now on this rollout; its frame of that number comes again
    {"type": "notice", "message"}                an error; the session continues
    {"type": "end", "message"}                   the session is over; the connection closes

or as binary, one frame: the length of a header (4 bytes, big-endian), the header as JSON, a PNG of `length` bytes, and
beside a real game (/ws?real=1) another PNG: what that shows after the same actions. The header:

    {"rollout", "number", "press", "action", "passes", "seconds", "together", "reward", "score", "terminal", "entropy",
     "again", "many_passes", "length"}

`rollout` counts resets, `number` the frames of one; the prompt's have null from "action" on. `press` is that of the
last "hold" before the frame, from which the page computes the latency. Frames that a connection is too slow for are
left out: there are gaps in `number`, and the download has them all. "reward", "score" and "terminal" are null in a
world without a reward model; `score` is the sum of all rewards since the reset. "entropy" is the mean
over the frame's tokens (nats), "again": the frame was shown before, "many_passes": play is slow for the passes of the
frames of the last second, and a sampler of one pass helps.
"""

import json
import struct
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from genie.common.errors import UserError
from genie.common.settings.commands import FASTEST
from genie.common.settings.kinds import Range
from genie.world.sampler_choice import Samplers

if TYPE_CHECKING:
    from genie.play_server.session import Frame, Session, SessionRecording

MOST_TEXT = 2**20  # characters of a message: a replay has a list of actions, others some 100
FPS = Range(0.2, FASTEST, whole=False)
STEPS = Range(1, 100)
TEMPERATURE = Range(0, 20, whole=False)
BOUND = Range(0, 100, whole=False)  # nats
SEED = Range(0, 2**53 - 1)  # whole numbers in JavaScript are exact up to here


def frame_message(frame: "Frame") -> bytes:
    header = {name: value for name, value in vars(frame).items() if name not in ("png", "real")}
    text = json.dumps({**header, "length": len(frame.png)}).encode()
    return struct.pack(">I", len(text)) + text + frame.png + (frame.real or b"")


def state_message(session: "Session") -> dict[str, Any]:
    return {
        "type": "state", "paused": session.paused, "fps": session.fps, "seed": session.seed,
        "clip": session.prompt.source.get("clip"), "sketch": session.sketch,
        "sampler": {"name": session.sampler_name, **asdict(session.sampler)},
    }  # fmt: skip


def parse(text: str) -> dict[str, Any]:
    """The message in a text. Raises UserError for any other text."""
    if len(text) > MOST_TEXT:
        raise UserError(f"a message of {len(text)} characters is too long")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError("the message is not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise UserError('the message has no "type"')
    return message


def check_recording(recording: "SessionRecording", max_frames: int) -> None:
    """Raises UserError for a recording that asks for more than a player may."""
    if len(recording.actions) > max_frames:
        raise UserError(f"the replay has {len(recording.actions):,} actions; a session keeps {max_frames:,} frames")
    SEED.require("seed", recording.seed)
    FPS.require("fps", recording.fps)
    for sampler in set(recording.samplers):
        STEPS.require("steps", sampler.steps)
        TEMPERATURE.require("temperature", sampler.temperature)
        if sampler.entropy_bound is not None:
            BOUND.require("entropy_bound", sampler.entropy_bound)


def hold(session: "Session", message: dict[str, Any], num_actions: int) -> None:
    """Applies a message "hold". Raises UserError for an invalid action."""
    action = message.get("action")
    if action is not None:
        Range(0, num_actions - 1).require("action", action)
    session.hold(action, SEED.require("press", message.get("press", 0)))


def settle(session: "Session", message: dict[str, Any], samplers: Samplers) -> None:
    """Applies a message "settings". Raises UserError for an invalid value, and then changes nothing."""
    fps, name, sampler = session.fps, session.sampler_name, session.sampler
    sketch = message.get("sketch", session.sketch)
    if not isinstance(sketch, bool):
        raise UserError("sketch must be true or false")
    if "fps" in message:
        fps = float(FPS.require("fps", message["fps"]))
    if "sampler" in message:
        name = message["sampler"]
        sampler = samplers.named(name)
    given = {}
    if "steps" in message:
        given["steps"] = STEPS.require("steps", message["steps"])
    if "temperature" in message:
        given["temperature"] = float(TEMPERATURE.require("temperature", message["temperature"]))
    session.sampler = Samplers.changed(sampler, **given)
    session.fps, session.sampler_name, session.sketch = fps, name, sketch
