"""One player's session: what is held, how it runs, and all that happened since the last reset.

Nothing here knows of models, threads or the web.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from genie.playing.prompting import Prompt
from genie.world.sampler import Sampler


@dataclass(frozen=True)
class Frame:
    """A picture of a rollout as PNG, with what is said of it: `number` counts from the prompt's first frame.

    `action` led to it, in `passes` of the dynamics; a step that made `together` sessions' frames took `seconds`. None
    for a frame of the prompt. `press` is the number of the last key press it can know of. `reward` of the step, the
    rewards since the reset together, `terminal`: whether it is an end; None in a world that knows no rewards.
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


def _ignore(_: Frame) -> None:
    pass


@dataclass(eq=False)
class Session:
    """`rollout` counts resets, so that what was begun before one is recognised after it.

    `on_frame(frame)` and `on_end(message)` are called from the engine's event loop.
    """

    prompt: Prompt
    sampler: Sampler
    idle: int
    fps: float
    seed: int = 0
    sampler_name: str = "run"
    sketch: bool = False  # pictures that the player sends are drawings
    max_frames: int = 10_000
    on_frame: Callable[[Frame], None] = _ignore
    on_end: Callable[[str], None] = field(default=lambda message: None)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    held: int | None = None
    tapped: int | None = None  # pressed since the last frame, perhaps released again: it acts for one frame
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
    score: float | None = None  # of the rollout, where the world knows rewards

    @property
    def period(self) -> float:
        """Seconds from frame to frame."""
        return 1 / self.fps

    @property
    def full(self) -> bool:
        """Whether the rollout is as long as it may be."""
        return len(self.made) >= self.max_frames

    @property
    def wants_frame(self) -> bool:
        """Whether a frame is to be made at `due`."""
        return self.ready and not self.full and (not self.paused or self.singles > 0)

    def hold(self, action: int | None, press: int = 0) -> None:
        """Hold an action from now on; None lets go."""
        self.held, self.press = action, press
        if action is not None:
            self.tapped = action

    def next_action(self) -> int:
        """The action of the frame that is made now."""
        action = next((action for action in (self.held, self.tapped) if action is not None), self.idle)
        self.tapped = None
        self.singles = max(0, self.singles - 1)
        return action

    def begin(self, prompt: Prompt, seed: int) -> int:
        """Forget the rollout; the world has to be reset. Returns the number of the new rollout."""
        self.prompt, self.seed = prompt, seed
        self.ready, self.tapped, self.singles, self.score = False, None, 0, None
        self.rollout += 1
        self.given, self.made, self.actions, self.samplers = [], [], [], []
        return self.rollout

    def add_prompt(self, pictures: list[bytes]) -> None:
        """The world has begun: these are the frames it saw."""
        self.given, self.ready = pictures, True
        for number, png in enumerate(pictures):
            self.on_frame(Frame(self.rollout, number, png, press=self.press))

    def add(
        self, png: bytes, action: int, sampler: Sampler, passes: int, seconds: float, together: int, press: int,
        reward: float | None = None, terminal: bool | None = None,
    ) -> None:  # fmt: skip
        """One generated frame."""
        if reward is not None:
            self.score = (self.score or 0.0) + reward
        if not self.samplers or self.samplers[-1][1] != sampler:
            self.samplers.append((len(self.actions), sampler))
        number = len(self.given) + len(self.made)
        self.made.append(png)
        self.actions.append(action)
        said = reward, self.score, terminal
        self.on_frame(Frame(self.rollout, number, png, action, passes, seconds, together, press, *said))
