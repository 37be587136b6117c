"""Command genie.play: its configuration, checked, and the shared parts of the server.

The first checks need few libraries: the address is printed before the others are imported and the world is loaded.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.run_folders import require_world
from genie.common.settings.commands import PlayConfig
from genie.common.shipped import as_typed, located
from genie.common.web import serve_page
from genie.play_server.messages import FPS
from genie.prompts.prompt import Prompter, prompt_kind
from genie.world.sampler_choice import Samplers, with_overrides

if TYPE_CHECKING:
    from genie.play_server.server import Game
    from genie.play_server.session import Prompt
    from genie.prompts.data_clips import PromptClips
    from genie.world.world_model import WorldModel

MEGABYTE = 2**20


def play(config: PlayConfig) -> None:
    """Serves the page, or plays in the terminal, until the player ends it.

    Raises UserError for an invalid value: where possible, before the address is printed and anything is loaded.
    """
    check(config)
    if config.terminal:
        from genie.play_server.terminal import play_in_terminal, require_terminal

        require_terminal()
        play_in_terminal(load_game(config))
        return

    def build(loopback: bool) -> Any:
        from genie.play_server.server import create_app

        return create_app(load_game(config), loopback)

    max_upload = config.play.max_upload * MEGABYTE
    serve_page(build, config.play, "play", max_upload, f"the world of {as_typed(config.run)}")


def check(config: PlayConfig) -> None:
    """Raises UserError for values that are invalid for any world."""
    prompt_kind(config)
    choose_device(config.device)
    require_world(Path(config.run))


def load_game(config: PlayConfig) -> "Game":
    """The world of a run and the other parts that its players share. Raises UserError."""
    from genie.play_server.calmest import calmest_action
    from genie.play_server.engine import Engine, Worlds
    from genie.play_server.labels import action_labels, idle_action, make_actions, suggest
    from genie.play_server.real_game import has_game
    from genie.play_server.server import Game
    from genie.world.world_model import WorldModel

    settings, run = config.play, located(config.run)
    device = choose_device(config.device)
    world = WorldModel.load(run).to(device)
    world.sampler = with_overrides(world.sampler, config)
    prompter = Prompter(config, world)
    clips, prompt = _prompt(config, world, prompter)
    names = clips.info.action_meanings if clips else None
    labels = action_labels(settings.actions, suggest(run, world.num_actions, world.takes_environment_actions, names))
    idle = idle_action(settings.idle, labels)
    return Game(
        run=str(config.run),
        world=world,
        engine=Engine(Worlds(world), settings.max_sessions, settings.idle_seconds),
        actions=make_actions(labels),
        idle=calmest_action(world, prompt, clips) if idle is None else idle,
        fps=max(float(config.fps or world.fps), FPS.least),
        seed=config.seed,
        prompt=prompt,
        samplers=Samplers(world.sampler),
        clips=clips,
        prompter=prompter,
        takes_text=prompter.text_to_image is not None,
        threads=_threads(settings.threads, world, prompt),
        max_frames=settings.max_frames,
        max_upload=settings.max_upload * MEGABYTE,
        effect_frames=settings.effect_frames,
        has_game=has_game(clips, world.config["data"]),
    )


def _prompt(config: PlayConfig, world: "WorldModel", prompter: Prompter) -> "tuple[PromptClips | None, Prompt]":
    """The validation clips (None where they are missing and a prompt is given), and the first prompt of a session."""
    from genie.play_server.session import clip_prompt, picture_prompt
    from genie.prompts.data_clips import PromptClips

    given = prompter.given()
    try:
        clips = PromptClips(world.config["data"], world.image_size, config.prompt_frames)
    except UserError:
        if given is None:
            raise
        clips = None
    return clips, clip_prompt(clips, config.prompt_clip, world) if given is None else picture_prompt(given)


def _threads(given: int | None, world: "WorldModel", prompt: "Prompt") -> int:
    """Sets and returns the number of CPU threads: the given one, else the faster one (one thread for small models)."""
    counts = [given] if given else sorted({1, torch.get_num_threads()})
    if len(counts) > 1 and world.device.type == "cpu":
        counts.sort(key=lambda count: _step_seconds(world, prompt, count))
    torch.set_num_threads(counts[0])
    return counts[0]


def _step_seconds(world: "WorldModel", prompt: "Prompt", threads: int) -> float:
    """Seconds of the faster of two steps."""
    torch.set_num_threads(threads)
    actions, seconds = torch.zeros(1, dtype=torch.int64, device=world.device), []
    with inference(world.device):
        state = world.reset(prompt.frames[None].to(world.device))
        for _ in range(3):
            start = time.perf_counter()
            state, _ = world.step(state, actions)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:])  # the first one also runs the prompt
