"""The world in a terminal: how a frame looks, what keys do, and that the terminal is left as it was."""

import contextlib
import os
import re
import signal
import sys
import threading

import numpy as np
import pytest

from genie.play_server.session import Session
from genie.play_server.terminal import LEAVE, TerminalPlayer, half_blocks, play_in_terminal, read_keys
from genie.world.world_model import WorldModel

pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
COLOR = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m|(▀)")


def seen(lines):
    """The picture [H, W, 3] that a terminal shows."""
    rows = []
    for line in lines:
        above, below, now = [], [], None
        for match in COLOR.finditer(line):
            if match[7]:
                above.append(now[:3])
                below.append(now[3:])
            else:
                now = [int(number) for number in match.groups()[:6]]
        rows += [above, below]
    return np.array(rows)


def test_two_pixels_to_a_character():
    picture = np.random.default_rng(0).integers(0, 3, (6, 8, 3), dtype=np.uint8) * 100
    assert np.array_equal(seen(half_blocks(picture, 80, 24)), picture)
    odd = seen(half_blocks(picture[:5], 80, 24))
    assert np.array_equal(odd[:5], picture[:5]) and not odd[5].any()


@pytest.mark.parametrize("size", [(80, 24), (10, 24), (200, 3), (1, 1)])
def test_it_fits_into_the_terminal(size):
    lines = half_blocks(np.zeros((90, 160, 3), dtype=np.uint8), *size)
    assert len(lines) <= size[1] and max(line.count("▀") for line in lines) <= size[0]


def test_flat_pictures_are_short():
    assert len("".join(half_blocks(np.zeros((64, 64, 3), dtype=np.uint8), 80, 40))) < 64 * 32 + 32 * 50


def test_keys():
    assert read_keys("1\x1b[A\x1bOBq") == ["1", "ArrowUp", "ArrowDown", "q"]
    assert read_keys("\x1b[15~\x1b[1;5Cp") == ["ArrowRight", "p"] and read_keys("\x1b") == ["\x1b"]


def test_what_keys_do(load):
    player = TerminalPlayer(load("play.actions={0: stay, 1: up, 2: down}"))
    for keys in (["ArrowUp"], [], ["3"]):
        for key in keys:
            player.press(key)
        player.advance()
    assert player.session.actions == [1, 1, 2]
    player.press("p")
    player.advance()
    player.press(".")
    player.advance()
    player.advance()
    assert len(player.session.actions) == 4
    player.press("r")
    assert player.session.actions == [] and len(player.session.given) == 4
    player.press("q")
    assert player.left


def test_slow_for_many_passes_is_said_with_what_helps(load, monkeypatch):
    player = TerminalPlayer(load())
    player.advance()
    assert "slow" not in player.status
    monkeypatch.setattr(Session, "many_passes", property(lambda self: True))
    player.advance()
    assert player.status.endswith("slow: try sampler=greedy, one pass")


@contextlib.contextmanager
def terminal():
    """`sys.stdin` and `sys.stdout` are a terminal; gives the descriptors of its other end and of this one."""
    master, slave = pty.openpty()
    with (
        os.fdopen(os.dup(slave), "r") as keys,
        os.fdopen(os.dup(slave), "w") as screen,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", keys)
        patch.setattr(sys, "stdout", screen)
        yield master, slave
    os.close(slave)
    os.close(master)


class Reader(threading.Thread):
    """Who sits before the terminal: reads all, and acts once when a text appears."""

    def __init__(self, master, text, act):
        super().__init__(daemon=True)
        self.master, self.text, self.act, self.seen = master, text, act, ""
        self.start()

    def run(self):
        while LEAVE not in self.seen:
            self.seen += os.read(self.master, 2**16).decode(errors="ignore")
            if self.act and self.text in self.seen:
                self.act, act = None, self.act
                act()


def broken(*_):
    raise RuntimeError("broken")


@pytest.mark.parametrize("end", ["q", signal.SIGINT, signal.SIGTERM, "error"])
def test_the_terminal_is_left_as_it_was(load, monkeypatch, end):
    game, handlers = load("steps=1"), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    raised = {signal.SIGTERM: pytest.raises(SystemExit), "error": pytest.raises(RuntimeError)}
    with terminal() as (master, slave):
        act = {"q": lambda: os.write(master, b"2q"), "error": lambda: monkeypatch.setattr(WorldModel, "step", broken)}
        reader = Reader(master, "frame 3 ", act.get(end) or (lambda: os.kill(os.getpid(), end)))
        before = termios.tcgetattr(slave)
        with raised.get(end, contextlib.nullcontext()):
            play_in_terminal(game)
        reader.join(10)
        after = termios.tcgetattr(slave)
    assert "▀" in reader.seen and "q quit" in reader.seen and reader.seen.endswith(LEAVE)
    assert before == after
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
