"""How fast is play? `python -m benchmarks.playing run=outputs/pong` prints frames per second as players see them.

Starts `genie.play` and connects as browsers do: one player, then eight, who each begin from a clip of their own, press
random keys and ask for more frames a second than there can be. Frames that arrive are counted for some seconds.

    seconds=15 players=8 and any key of genie.play
"""

import asyncio
import json
import random
import re
import struct
import subprocess
import sys
import time

import websockets

from benchmarks.arguments import arguments, started
from genie.common.errors import UserError
from genie.common.settings.kinds import Count, Positive, Settings


class Arguments(Settings):
    seconds: Positive = 15
    players: Count = 8


WARM_UP = 3.0  # seconds in which nothing is counted
ASKED = 60  # frames per second


async def player(address: str, number: int, seconds: float) -> tuple[float, float]:
    """Frames per second that arrive, and passes per frame, of one player."""
    generator = random.Random(number)
    origin = address.replace("ws://", "http://")
    async with websockets.connect(f"{address}/ws", origin=origin, max_size=None) as socket:
        welcome = json.loads(await socket.recv())
        num_actions, clips = len(welcome["actions"]), welcome["clips"] or 1
        await socket.send(json.dumps({"type": "settings", "fps": ASKED}))
        await socket.send(json.dumps({"type": "reset", "seed": number, "clip": generator.randrange(clips)}))
        started, frames, passes = time.monotonic(), 0, 0
        while (elapsed := time.monotonic() - started) < WARM_UP + seconds:
            message = await socket.recv()
            if isinstance(message, str):
                assert json.loads(message)["type"] == "state", message
                continue
            header = json.loads(message[4 : 4 + struct.unpack(">I", message[:4])[0]])
            if elapsed > WARM_UP and header["passes"]:
                frames, passes = frames + 1, passes + header["passes"]
            if generator.random() < 0.2:
                action = generator.randrange(num_actions)
                await socket.send(json.dumps({"type": "hold", "action": action, "press": frames}))
    return frames / seconds, passes / max(1, frames)


async def play(address: str, players: int, seconds: float) -> None:
    """Prints what so many players get."""
    results = await asyncio.gather(*(player(address, number, seconds) for number in range(players)))
    rates, passes = [rate for rate, _ in results], sum(count for _, count in results) / players
    print(f"{players} players: {min(rates):.1f} … {max(rates):.1f} frames/s each, {passes:.1f} passes a frame")


def main() -> None:
    given, others = arguments(Arguments, others=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "genie.play", "run=outputs/pong", "play.port=0", *others],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        found, line = None, ""
        for line in server.stdout:
            found = found or re.search(r"http://([\w.:\[\]]+)", line)
            if line.startswith("ready"):  # the address is printed before the world is loaded
                break
        else:
            raise UserError(f"the server did not start: {line.strip().removeprefix('error: ')}")
        for count in (1, given.players):
            asyncio.run(play(f"ws://{found[1]}", count, given.seconds))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    started(main)
