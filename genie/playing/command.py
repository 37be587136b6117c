"""`python -m genie.play`: the configuration, checked, and everything put together."""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
import uvicorn

from genie.checks import require_number, require_whole
from genie.errors import UserError
from genie.inference import choose_device, inference
from genie.playing.batching import Worlds
from genie.playing.engine import Engine
from genie.playing.guard import is_loopback
from genie.playing.labels import action_labels, idle_action, make_actions, suggest
from genie.playing.prompting import Prompt, clip_prompt, picture_prompt
from genie.playing.protocol import FPS
from genie.playing.server import Game, create_app
from genie.playing.terminal import play_in_terminal, require_terminal
from genie.prompts import PromptClips, read_prompt
from genie.sampling import Samplers, with_overrides
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

MEGABYTE = 2**20
OTHER_MESSAGES = 64 * 1024  # bytes above the largest upload, so that a slightly larger one gets an answer


def play(config: dict[str, Any]) -> None:
    """Serves the page, or plays in the terminal, until the player ends it.

    Raises UserError for a value that cannot be, before anything is loaded where that is possible.
    """
    check(config)
    if config["terminal"]:
        require_terminal()
        play_in_terminal(load_game(config))
        return
    settings = config["play"]
    listener = bind(settings["host"], settings["port"])
    with listener:
        game = load_game(config)
        loopback = is_loopback(settings["host"])
        if not loopback:
            print(
                f"warning: play.host={settings['host']} lets all who reach this machine play: no password",
                file=sys.stderr,
            )
        app = create_app(game, loopback)
        print(address(settings["host"], listener), flush=True)
        serve(app, listener, game.max_upload)


def check(config: dict[str, Any]) -> None:
    """Raises UserError for values that no world could make right."""
    settings = config["play"]
    require_whole(config, "prompt_frames")
    require_whole(config, "prompt_clip", "seed", least=0)
    require_number(config, "fps", above=0, most=FPS[1])
    require_whole(settings, "max_sessions", "max_frames", "max_upload", "threads", prefix="play.")
    require_whole(settings, "port", "idle", least=0, prefix="play.")
    if settings["port"] > 65535:
        raise UserError(f"play.port={settings['port']} must be at most 65535")
    require_number({"play.idle_seconds": settings["idle_seconds"]}, "play.idle_seconds", above=0, most=1e6)
    if not isinstance(config["terminal"], bool):
        raise UserError(f"terminal={config['terminal']} must be true or false")
    with_overrides(Sampler(), config)


def load_game(config: dict[str, Any]) -> Game:
    """The world of a run and everything that its players share. Raises UserError."""
    settings, run = config["play"], Path(config["run"])
    device = choose_device(config["device"])
    world = WorldModel.load(run).to(device)
    world.sampler = with_overrides(world.sampler, config)
    clips, prompt = _prompt(config, world)
    names = clips.info.action_meanings if clips else None
    labels = action_labels(settings["actions"], suggest(run, world.num_actions, world.takes_environment_actions, names))
    return Game(
        run=str(config["run"]),
        world=world,
        engine=Engine(Worlds(world), settings["max_sessions"], settings["idle_seconds"]),
        actions=make_actions(labels),
        idle=idle_action(settings["idle"], labels),
        fps=max(float(config["fps"] or world.fps), FPS[0]),
        seed=config["seed"],
        prompt=prompt,
        samplers=Samplers(world.sampler),
        clips=clips,
        threads=_threads(settings["threads"], world, prompt),
        max_frames=settings["max_frames"],
        max_upload=settings["max_upload"] * MEGABYTE,
    )


def _prompt(config: dict[str, Any], world: WorldModel) -> tuple[PromptClips | None, Prompt]:
    """The validation clips (None: not there, but there is a prompt), and where a session begins."""
    length = config["prompt_frames"]
    try:
        clips = PromptClips(world.config["data"], world.image_size, length)
    except UserError:
        if config["prompt"] is None:
            raise
        clips = None
    if config["prompt"] is None:
        return clips, clip_prompt(clips, config["prompt_clip"], world)
    return clips, picture_prompt(read_prompt(config["prompt"], world.image_size, length, world.fps))


def _threads(given: int | None, world: WorldModel, prompt: Prompt) -> int:
    """Sets and returns the number of threads of the CPU that step the world: one is faster for small models."""
    most = torch.get_num_threads()
    counts = [given] if given else sorted({1, most})
    if len(counts) > 1 and world.device.type == "cpu":
        counts.sort(key=lambda count: _step_seconds(world, prompt, count))
    torch.set_num_threads(counts[0])
    return counts[0]


def _step_seconds(world: WorldModel, prompt: Prompt, threads: int) -> float:
    """Of the faster of two steps."""
    torch.set_num_threads(threads)
    actions, seconds = torch.zeros(1, dtype=torch.int64, device=world.device), []
    with inference(world.device):
        state = world.reset(prompt.frames[None].to(world.device))
        for _ in range(3):
            start = time.perf_counter()
            state, _ = world.step(state, actions)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one runs the prompt too


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UserError where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise UserError(f"play.host={host} is not an address of this machine ({error.strerror})") from error
        way = "give another play.port=, or play.port=0 for a free one"
        raise UserError(f"cannot listen on {host}:{port} ({error.strerror}): {way}") from error


def address(host: str, listener: socket.socket) -> str:
    """What to open in a browser on this machine."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def web_server(app: Any, max_upload: int) -> uvicorn.Server:
    """The server of an app; messages of up to `max_upload` bytes and a few reach it."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on",
        ws_max_size=max_upload + OTHER_MESSAGES, ws_per_message_deflate=False,  # pictures are compressed already
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Any, listener: socket.socket, max_upload: int) -> None:
    """Serves until Ctrl-C."""
    try:
        web_server(app, max_upload).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn hands the signal on once everything is closed
        print("stopped", file=sys.stderr)
