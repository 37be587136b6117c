"""A session as a video, and as a JSON file that `python -m genie.generate replay=session.json` plays again.

The file:

    {"format": "genie session", "version": 1,
     "run": "outputs/pong", "seed": 0, "fps": 10.0, "threads": 2,
     "prompt": {"clip": 3, "frames": 4} | {"images": [PNG in base64, …]},
     "samplers": [{"from": 0, "steps": 8, "temperature": 1.0, "order": "confidence", "entropy_bound": null}, …],
     "labels": ["down", "stay", "up"], "actions": [1, 1, 2, …]}

A sampler holds from the action of that index on. The last bits of a sum depend on the number of `threads` that share
it, and they may decide a token, so a replay on the CPU takes as many.
"""

import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genie.common.errors import UserError
from genie.common.media import VIDEO_HEIGHT, enlarge, scale_to, write_mp4
from genie.playing.prompting import decode_png
from genie.playing.session import Session
from genie.world.sampler import Sampler

FORMAT, VERSION = "genie session", 1
LARGEST_FILE = 64 * 2**20  # bytes


@dataclass(frozen=True)
class Recording:
    """What a session file says. `samplers`: one for each of `actions`; `threads`: None where it does not say."""

    run: str
    seed: int
    fps: float
    prompt: dict[str, Any]
    samplers: list[Sampler]
    actions: list[int]
    threads: int | None


def session_json(session: Session, run: str, labels: list[str], threads: int) -> dict[str, Any]:
    """The file of a session, as plain values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": run,
        "seed": session.seed,
        "fps": session.fps,
        "threads": threads,
        "prompt": session.prompt.source,
        "samplers": [{"from": first, **asdict(sampler)} for first, sampler in session.samplers],
        "labels": labels,
        "actions": list(session.actions),
    }


def session_mp4(pictures: list[bytes], fps: float) -> bytes:
    """The video of PNG pictures, enlarged as `genie.generate` does it."""

    def frames() -> Iterator[np.ndarray]:
        for png in pictures:
            picture = decode_png(png)
            yield enlarge(picture, scale_to(len(picture), VIDEO_HEIGHT))

    with tempfile.TemporaryDirectory() as folder:
        return write_mp4(Path(folder) / "session.mp4", frames(), fps).read_bytes()


def read_session(path: str | Path) -> Recording:
    """Reads a session file. Raises UserError, in one line, for anything that is not one."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"replay={path} is too large for a session file")
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"replay={path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"replay={path} is not JSON: give a session that the page of genie.play saved") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"replay={path} is not a session that the page of genie.play saved")
    if content.get("version") != VERSION:
        raise UserError(f"replay={path} is of version {content.get('version')}, this program knows {VERSION}")
    try:
        return _recording(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"replay={path} is damaged ({type(error).__name__}: {error})") from error


def _recording(content: dict[str, Any]) -> Recording:
    actions, threads = content["actions"], content.get("threads")
    if not all(type(action) is int for action in actions):
        raise TypeError("actions must be whole numbers")
    for name, types, value in (
        ("run", str, content["run"]), ("seed", int, content["seed"]), ("fps", int | float, content["fps"]),
        ("threads", int | None, threads), ("prompt", dict, content["prompt"]),
    ):  # fmt: skip
        if not isinstance(value, types) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r}")
    if not 0 < content["fps"] <= 1000 or threads is not None and not 1 <= threads <= 1024 or content["seed"] < 0:
        raise ValueError("seed, fps or threads is out of range")
    samplers = _samplers(content["samplers"], len(actions))
    return Recording(
        content["run"], content["seed"], float(content["fps"]), content["prompt"], samplers, actions, threads
    )


def _samplers(changes: list[dict[str, Any]], count: int) -> list[Sampler]:
    """One for each of `count` actions."""
    starts = [change["from"] for change in changes]
    if count and (not starts or starts[0] != 0) or starts != sorted(set(starts)):
        raise ValueError("samplers must begin with the first action")
    samplers = []
    for change, (start, end) in zip(changes, itertools.pairwise([*starts, count]), strict=True):
        settings = {name: value for name, value in change.items() if name != "from"}
        samplers += [Sampler(**settings)] * (end - start)
    return samplers[:count]
