"""Session of one player: prompt, settings, the rollout since the last reset, and its file and video.

A prompt knows its `source`, which a session file keeps: {"clip": index, "frames": T}, or lossless pictures at the
model's size, {"images": [PNG in base64, …]}. `python -m genie.generate replay=session.json` plays the file again:

    {"format": "genie session", "version": 1,
     "run": "outputs/pong", "seed": 0, "fps": 10.0, "threads": 2,
     "prompt": {"clip": 3, "frames": 4} | {"images": [PNG in base64, …]},
     "samplers": [{"from": 0, "steps": 8, "temperature": 1.0, "order": "confidence", "entropy_bound": null}, …],
     "labels": ["down", "stay", "up"], "actions": [1, 1, 2, …]}

A sampler holds from the action of the index `from` on. The last bits of a sum depend on the number of `threads` that
share it, and they may decide a token, so a replay on the CPU takes as many.

Dimension letters: `T` frames, `H W` pixels.
"""

import base64
import binascii
import io
import itertools
import json
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, cat

from genie.common.errors import UserError
from genie.common.media import VIDEO_HEIGHT, enlarge, scale_to, to_bytes, write_mp4
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import read_prompt
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

MOST_IMAGES = 64  # in a session file: frames beyond a window have no effect
FORMAT, VERSION = "genie session", 1
LARGEST_FILE = 64 * 2**20  # bytes
MANY_PASSES = 10  # for a frame, in the mean of the newest ones: the sampler is what takes the time
RECENT_SECONDS = 1.0  # of play, of which that is the mean
MOST_SHOWN = 300  # frames that the page shows beneath the picture
Move = tuple[int, Sampler]  # an action, and how the frame after it is drawn


@dataclass(frozen=True)
class Prompt:
    """`frames` float [T, 3, H, W] in [0, 1]; `actions` int64 [T-1] between them, None where the model infers them."""

    frames: Tensor
    actions: Tensor | None
    source: dict[str, Any]


def encode_png(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as PNG, compressed quickly rather than well."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png", compress_level=1)
    return file.getvalue()


def decode_png(content: bytes) -> np.ndarray:
    """uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))


def clip_prompt(clips: PromptClips, index: int, world: WorldModel) -> Prompt:
    """A clip of the validation data. Raises UserError for an index out of range."""
    frames, actions = clips[index]
    return Prompt(frames, world.prompt_actions(actions), {"clip": index, "frames": len(frames)})


def picture_prompt(frames: Tensor) -> Prompt:
    """A prompt of frames [T, 3, H, W] in [0, 1] that are multiples of 1/255, at the model's size."""
    pictures = [base64.b64encode(encode_png(picture)).decode() for picture in to_bytes(frames)]
    return Prompt(frames, None, {"images": pictures})


def prompt_from(source: Any, world: WorldModel) -> Prompt:
    """The prompt that a session file describes. Raises UserError for anything else."""
    match source:
        case {"clip": index, "frames": count} if type(index) is type(count) is int and 0 < count <= MOST_IMAGES:
            return clip_prompt(PromptClips(world.config["data"], world.image_size, count), index, world)
        case {"images": [*pictures]} if 0 < len(pictures) <= MOST_IMAGES:
            try:
                contents = [base64.b64decode(picture, validate=True) for picture in pictures]
            except (TypeError, ValueError, binascii.Error) as error:
                raise UserError("its prompt has a picture that is not in base64") from error
            size, name = world.image_size, "a picture of its prompt"
            frames = [read_prompt(content, name, size, 1, world.fps, "squeeze") for content in contents]
            return picture_prompt(cat(frames))
    raise UserError("its prompt is neither a clip of the data nor pictures")


@dataclass(frozen=True)
class Made:
    """A generated frame as PNG, made in `passes` of the dynamics, in a step of `seconds` for `together` sessions.

    `reward` of that step, `terminal`: whether it ends the episode; None in a world without rewards.
    """

    png: bytes
    passes: int
    seconds: float
    together: int
    reward: float | None = None
    terminal: bool | None = None
    real: bytes | None = None  # PNG: the real game's frame after the same actions
    entropy: float | None = None  # nats: the mean of its tokens when they were drawn


@dataclass(frozen=True)
class Frame:
    """A picture of a rollout as PNG, and its description for the page: fields of `Made`, and others.

    `number` counts from the prompt's first frame; `press`: the number of the last key press before it; `action` and the
    fields of `Made` are None for a frame of the prompt. `score`: sum of rewards since the reset, None without rewards.
    """

    rollout: int
    number: int
    png: bytes
    action: int | None = None
    passes: int | None = None
    seconds: float | None = None
    together: int | None = None
    press: int = 0
    reward: float | None = None
    score: float | None = None
    terminal: bool | None = None
    real: bytes | None = None
    entropy: float | None = None
    again: bool = False  # was shown before, in another rollout or session
    many_passes: bool = False  # play is slow, for the passes of the newest frames (`Session.many_passes`)


@dataclass(eq=False)
class Session:
    """A session, without models, threads or the web.

    `rollout` counts resets, so that work from before a reset is recognised after it. `on_frame(frame)` and
    `on_end(message)` are called from the engine's event loop.
    """

    prompt: Prompt
    sampler: Sampler
    idle: int
    fps: float
    seed: int = 0
    sampler_name: str = "run"
    sketch: bool = False  # pictures that the player sends are drawings
    max_frames: int = 10_000
    on_frame: Callable[[Frame], None] = field(default=lambda frame: None)
    on_end: Callable[[str], None] = field(default=lambda message: None)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    held: int | None = None
    tapped: int | None = None  # pressed since the last frame, perhaps released since: acts for one frame
    press: int = 0
    paused: bool = False
    singles: int = 0  # frames asked for while paused
    ready: bool = False  # the world has begun from the prompt
    due: float = 0.0  # the engine's clock
    used: float = 0.0
    rollout: int = 0
    given: list[bytes] = field(default_factory=list)  # PNG, the prompt
    made: list[bytes] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    samplers: list[tuple[int, Sampler]] = field(default_factory=list)  # (index of the first action, sampler)
    scores: list[float | None] = field(default_factory=list)  # after each frame; None in a world without rewards
    script: list[Move] = field(default_factory=list)  # of a replay: the moves to come, unless the player acts
    scripted: bool = False  # a replay runs: at its end the session pauses
    game: Any = None  # a `RealGame` beside the world
    on_pause: Callable[[], None] = field(default=lambda: None)
    recent: list[tuple[float, int]] = field(default_factory=list)  # of the newest frames: seconds, passes

    @property
    def score(self) -> float | None:
        """Sum of the rewards so far; None before the first frame and in a world without rewards."""
        return self.scores[-1] if self.scores else None

    @property
    def period(self) -> float:
        """Seconds from frame to frame."""
        return 1 / self.fps

    @property
    def many_passes(self) -> bool:
        """Whether frames of the last second of play took longer than their period and many passes: a sampler of one
        pass (sampler=greedy) helps."""
        seconds, passes = (sum(each) for each in zip(*self.recent, strict=True)) if self.recent else (0.0, 0)
        count = len(self.recent)
        return seconds >= RECENT_SECONDS and seconds > count * self.period and passes > count * MANY_PASSES

    @property
    def full(self) -> bool:
        return len(self.made) >= self.max_frames

    @property
    def wants_frame(self) -> bool:
        """Whether a frame is to be made at `due`."""
        return self.ready and not self.full and (not self.paused or self.singles > 0)

    def hold(self, action: int | None, press: int = 0) -> None:
        """Holds an action from now on; None releases it. A player who acts takes over from a replay."""
        self.held, self.press = action, press
        if action is not None:
            self.tapped = action
            self.script, self.scripted = [], False

    def next_move(self) -> Move:
        """The action and the sampler of the next frame, which consumes a tap and a single step."""
        self.singles = max(0, self.singles - 1)
        if self.script:
            return self.script.pop(0)
        action = next((action for action in (self.held, self.tapped) if action is not None), self.idle)
        self.tapped = None
        return action, self.sampler

    def begin(self, prompt: Prompt, seed: int) -> int:
        """Starts a new rollout, for which the world has to be reset; returns its number."""
        self.prompt, self.seed = prompt, seed
        self.ready, self.tapped, self.singles, self.scripted = False, None, 0, False
        self.rollout += 1
        self.given, self.made, self.actions, self.samplers, self.scores, self.script = [], [], [], [], [], []
        return self.rollout

    def moves(self) -> list[Move]:
        """Those of all generated frames."""
        starts = [first for first, _ in self.samplers]
        spans = zip(self.samplers, [*starts, len(self.actions)][1:], strict=True)
        return [(action, sampler) for (first, sampler), end in spans for action in self.actions[first:end]]

    def back(self, count: int) -> int:
        """Forgets the newest `count` frames, but none of the prompt, and pauses; the world has to go back, too. Returns
        the number of the rollout: work on what is forgotten belongs to another one."""
        left = max(0, len(self.made) - count)
        self.made, self.actions, self.scores = self.made[:left], self.actions[:left], self.scores[:left]
        self.samplers = [(first, sampler) for first, sampler in self.samplers if first < left]
        self.ready, self.paused, self.tapped, self.singles = False, True, None, 0
        self.script, self.scripted = [], False
        self.rollout += 1
        return self.rollout

    def continue_from(self, other: "Session") -> None:
        """Becomes a copy of another session where that is now, paused."""
        for name in ("prompt", "sampler", "sampler_name", "fps", "seed", "sketch"):
            setattr(self, name, getattr(other, name))
        for name in ("given", "made", "actions", "samplers", "scores"):
            setattr(self, name, list(getattr(other, name)))
        self.paused, self.rollout = True, self.rollout + 1

    def show_again(self, count: int = MOST_SHOWN) -> None:
        """Gives the page the newest `count` frames once more."""
        pictures, total = self.given + self.made, len(self.given) + len(self.made)
        for number in range(max(0, total - count), total):
            made = number - len(self.given)
            move: dict[str, Any] = {} if made < 0 else {"action": self.actions[made], "score": self.scores[made]}
            if number == total - 1 and self.game is not None:
                move["real"] = self.game.last
            self.on_frame(Frame(self.rollout, number, pictures[number], press=self.press, again=True, **move))

    def add_prompt(self, pictures: list[bytes]) -> None:
        """Adds the frames of the prompt, once the world was reset."""
        self.given, self.ready = pictures, True
        for number, png in enumerate(pictures):
            self.on_frame(Frame(self.rollout, number, png, press=self.press))

    def add(self, made: Made, action: int, sampler: Sampler, press: int = 0) -> None:
        score = None
        if made.reward is not None:
            score = (self.score or 0.0) + made.reward
        if not self.samplers or self.samplers[-1][1] != sampler:
            self.samplers.append((len(self.actions), sampler))
        number = len(self.given) + len(self.made)
        self.made.append(made.png)
        self.actions.append(action)
        self.scores.append(score)
        self.recent.append((made.seconds, made.passes))
        while sum(seconds for seconds, _ in self.recent[1:]) >= RECENT_SECONDS:
            self.recent.pop(0)
        slow = {"score": score, "many_passes": self.many_passes}
        self.on_frame(Frame(self.rollout, number, action=action, press=press, **slow, **vars(made)))


@dataclass(frozen=True)
class SessionRecording:
    """The content of a session file. `samplers`: one for each of `actions`; `threads`: None where it is not given."""

    run: str
    seed: int
    fps: float
    prompt: dict[str, Any]
    samplers: list[Sampler]
    actions: list[int]
    threads: int | None


def session_json(session: Session, run: str, labels: list[str], threads: int) -> dict[str, Any]:
    samplers = [{"from": first, **asdict(sampler)} for first, sampler in session.samplers]
    return {
        "format": FORMAT, "version": VERSION, "run": run, "seed": session.seed, "fps": session.fps, "threads": threads,
        "prompt": session.prompt.source, "samplers": samplers, "labels": labels, "actions": list(session.actions),
    }  # fmt: skip


def session_mp4(pictures: list[bytes], fps: float) -> bytes:
    """The video of PNG pictures, enlarged as by `genie.generate`."""
    decoded = map(decode_png, pictures)
    frames = (enlarge(picture, scale_to(len(picture), VIDEO_HEIGHT)) for picture in decoded)
    with tempfile.TemporaryDirectory() as folder:
        return write_mp4(Path(folder) / "session.mp4", frames, fps).read_bytes()


def read_session(path: str | Path) -> SessionRecording:
    """Reads a session file. Raises UserError, in one line, for any other or damaged file."""
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"replay={path} is too large for a session file")
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"replay={path} cannot be read ({error.strerror})") from error
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"replay={path} is not JSON: give a session that the page of genie.play saved") from error
    return session_recording(content, f"replay={path}")


def session_recording(content: Any, name: str) -> SessionRecording:
    """The content of a session file. Raises UserError, in one line that begins with `name`, for any other."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{name} is not a session that the page of genie.play saved")
    if content.get("version") != VERSION:
        raise UserError(f"{name} is of version {content.get('version')}, this program knows {VERSION}")
    try:
        return _recording(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{name} is damaged ({type(error).__name__}: {error})") from error


def _recording(content: dict[str, Any]) -> SessionRecording:
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
    return SessionRecording(
        content["run"], content["seed"], float(content["fps"]), content["prompt"], samplers, actions, threads
    )


def _samplers(changes: list[dict[str, Any]], count: int) -> list[Sampler]:
    """One for each of `count` actions."""
    starts = [change["from"] for change in changes]
    if not all(type(start) is int and 0 <= start <= count for start in starts):
        raise ValueError("a sampler begins with an action that is not there")
    if count and (not starts or starts[0] != 0) or starts != sorted(set(starts)):
        raise ValueError("samplers must begin with the first action")
    samplers = []
    for change, (start, end) in zip(changes, itertools.pairwise([*starts, count]), strict=True):
        settings = {name: value for name, value in change.items() if name != "from"}
        samplers += [Sampler(**settings)] * (end - start)
    return samplers[:count]
