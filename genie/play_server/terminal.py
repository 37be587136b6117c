"""Play in a terminal, with two pixels to a character: the colours of the letter ▀ and of its background.

A terminal reports when a key goes down and repeats it, but not when it is released: a key counts as held for a moment
after each report.

Dimension letters: `H W` pixels.
"""

import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from genie.common.errors import UserError
from genie.play_server.engine import Job, Worlds
from genie.play_server.labels import Action
from genie.play_server.server import Game
from genie.play_server.session import Session, decode_png

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None

HOLD_SECONDS = 0.4  # at least the delay after which keyboards repeat
SHORTEST_WAIT = 0.001  # seconds for keys, even if the world is slow
ESCAPES = {"A": "ArrowUp", "B": "ArrowDown", "C": "ArrowRight", "D": "ArrowLeft"}
SYMBOLS = {"ArrowUp": "↑", "ArrowDown": "↓", "ArrowRight": "→", "ArrowLeft": "←"}
HOME, CLEAR_BELOW, CLEAR_LINE, PLAIN = "\x1b[H", "\x1b[J", "\x1b[K", "\x1b[0m"
ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"  # another screen, no cursor
LEAVE = PLAIN + "\x1b[?25h\x1b[?1049l"


def half_blocks(picture: np.ndarray, columns: int, lines: int) -> list[str]:
    """Lines of text that show uint8 [H, W, 3], at most `lines` of `columns` characters; larger ones are subsampled."""
    height, width = picture.shape[:2]
    step = max(1, -(-width // columns), -(-height // (2 * lines)))
    picture = picture[::step, ::step]
    if len(picture) % 2:
        picture = np.concatenate([picture, np.zeros_like(picture[:1])])
    rows = []
    for above, below in zip(picture[::2], picture[1::2], strict=True):
        text, last = [], None
        for colors in zip(above.tolist(), below.tolist(), strict=True):
            if colors != last:  # a colour holds until the next one
                (r, g, b), (s, h, c) = colors
                text.append(f"\x1b[38;2;{r};{g};{b};48;2;{s};{h};{c}m")
                last = colors
            text.append("▀")
        rows.append("".join(text) + PLAIN)
    return rows


def read_keys(text: str) -> list[str]:
    """Names of the keys in the input of a terminal: arrows as in a browser, letters and digits themselves."""
    found = re.finditer(r"\x1b[\[O][^A-Za-z~]*([A-Za-z~]?)|(.)", text, re.DOTALL)
    keys = (ESCAPES.get(match[1]) if match[2] is None else match[2] for match in found)
    return [key for key in keys if key is not None]


def require_terminal() -> None:
    if termios is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "terminal=true needs a terminal: input or output is something else here; leave it out for the page"
        )


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Reads keys one by one without echo; restores the terminal however this ends."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    terminated = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(ENTER)
        sys.stdout.flush()
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, terminated)


def play_in_terminal(game: Game) -> None:
    """Plays until `q`, or Ctrl-C."""
    player = TerminalPlayer(game)
    with suppress(KeyboardInterrupt), raw_terminal():
        while not player.left:
            player.draw()
            player.listen()
            player.advance()


class TerminalPlayer:
    """One session, drawn and stepped in turns."""

    def __init__(self, game: Game) -> None:
        self.game, self.worlds = game, Worlds(game.world)
        self.session = Session(
            game.prompt, game.samplers.own, game.idle, game.fps, game.seed, max_frames=game.max_frames
        )
        self.keys = {key: action.index for action in game.actions for key in action.keys}
        self.left, self.seen, self.last, self.status = False, 0.0, None, "ready"
        self.begin()

    def begin(self) -> None:
        session = self.session
        session.begin(session.prompt, session.seed)
        session.add_prompt(self.worlds.begin(session.id, session.prompt, session.seed))
        session.due = time.monotonic() + session.period

    def listen(self) -> None:
        """Handles keys until the next frame is due."""
        while not self.left:
            now = time.monotonic()
            if self.session.held is not None and now - self.seen > HOLD_SECONDS:
                self.session.hold(None)
            wait = self.session.due - now if self.session.wants_frame else None
            ready, _, _ = select.select([sys.stdin], [], [], None if wait is None else max(wait, SHORTEST_WAIT))
            if not ready:
                return
            text = os.read(sys.stdin.fileno(), 1024).decode(errors="ignore")
            if not text:  # the terminal was closed
                self.left = True
            for key in read_keys(text):
                self.press(key)
            if self.session.wants_frame and time.monotonic() >= self.session.due:
                return

    def press(self, key: str) -> None:
        session = self.session
        if key in self.keys:
            session.hold(self.keys[key])
            self.seen = time.monotonic()
        elif key == "p":
            session.paused = not session.paused
            self.draw()
        elif key == ".":
            session.paused, session.singles, session.due = True, 1, 0.0
        elif key == "r":
            self.begin()
            self.draw()
        elif key == "q":
            self.left = True

    def advance(self) -> None:
        session = self.session
        if self.left or not session.wants_frame:
            return
        start = time.monotonic()
        job = Job(session.id, *session.next_move())
        made = self.worlds.step([job])[session.id]
        if isinstance(made, Exception):
            raise made
        session.add(made, job.action, job.sampler)
        rate = 1 / max(time.monotonic() - (self.last or start), session.period / 2)
        self.last = time.monotonic()
        self.status = f"{rate:.1f} frames/s   {made.passes} passes   {self.game.actions[job.action].label}"
        if session.score is not None:
            self.status += f"   score {session.score:.1f}{', over' if made.terminal else ''}"
        if session.many_passes:
            self.status += "   slow: try sampler=greedy, one pass"
        session.due = max(session.due + session.period, start)

    def draw(self) -> None:
        size, session = shutil.get_terminal_size(), self.session
        png = session.made[-1] if session.made else session.given[-1]
        number = len(session.made)
        status = "this rollout is full: r begins again" if session.full else "paused" if session.paused else self.status
        texts = [
            f"frame {number}   {status}",
            "   ".join(key_help(action) for action in self.game.actions),
            "p pause   . step   r reset   q quit",
        ]
        lines = half_blocks(decode_png(png), size.columns, max(1, size.lines - len(texts) - 1))
        lines += [text[: size.columns - 1] for text in texts]
        sys.stdout.write(HOME + (CLEAR_LINE + "\r\n").join(lines) + CLEAR_LINE + CLEAR_BELOW)
        sys.stdout.flush()


def key_help(action: Action) -> str:
    """ "2 ↑ up" """
    return " ".join([*(SYMBOLS.get(key, key) for key in action.keys), action.label])
