"""Generation of a video from a prompt and actions, or replay of a recorded session."""

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from genie.common.device import choose_device, inference
from genie.common.errors import UserError
from genie.common.folder_lock import one_writer, require_writable
from genie.common.media import (
    VIDEO_HEIGHT,
    caption,
    check_scale,
    enlarge,
    scale_to,
    to_bytes,
    write_animation,
    write_frames,
    write_mp4,
    write_png,
)
from genie.common.profiling import GenerationCost, measured
from genie.common.run_folders import require_world
from genie.common.settings.commands import GenerateConfig
from genie.common.shipped import located
from genie.play_server.labels import action_labels, suggest
from genie.play_server.session import SessionRecording, prompt_from, read_session
from genie.prompts.data_clips import PromptClips
from genie.prompts.prompt import Prompter, prompt_kind
from genie.world.sampler import Sampler
from genie.world.sampler_choice import with_overrides
from genie.world.world_model import WorldModel

CAPTION_HEIGHT = 28


def generate(config: GenerateConfig) -> Path:
    """Writes the video (or the folder of frames) that the configuration `generate` describes; returns its path.

    Raises UserError for an invalid value, before anything is generated.
    """
    _check(config)
    recording = None
    if config.replay is not None:
        recording = read_session(config.replay)
        config = config.changed(run=config.run or recording.run, seed=recording.seed)
    require_world(located(config.run))
    output = _output(config)
    if not config.save_frames:
        require_writable(output, "output=")
    with one_writer(output, "output=") if config.save_frames else nullcontext():
        return _generate_into(output, recording, config)


def _generate_into(output: Path, recording: SessionRecording | None, config: GenerateConfig) -> Path:
    device = choose_device(config.device)
    world = WorldModel.load(config.run).to(device)
    if recording is None:
        sampler = with_overrides(world.sampler, config)
        actions = action_sequence(config.actions, config.num_frames, world.num_actions, config.seed, config.hold)
        samplers, fps = [sampler] * len(actions), world.fps
        frames, prompt_actions = _prompt(config, world)
    else:
        actions, samplers, fps = recording.actions, recording.samplers, recording.fps
        frames, prompt_actions = _replayed(recording, world, config.replay)
        if device.type == "cpu" and recording.threads is not None:
            torch.set_num_threads(recording.threads)
    check_scale(config.scale, world.image_size)
    scale = config.scale or scale_to(world.image_size[0], VIDEO_HEIGHT)
    moves, made = list(zip(actions, samplers, strict=True)), GenerationCost()
    generated = _rollout(world, frames, prompt_actions, moves, config.seed, made)
    pictures = (enlarge(to_bytes(frame), scale) for frame in itertools.chain(frames, generated))
    if config.show_actions:
        labels = _labels(config, world)
        shown = itertools.chain(["given"] * len(frames), (labels[action] for action in actions))
        pictures = (with_caption(picture, label) for picture, label in zip(pictures, shown, strict=True))
    try:
        if config.save_prompt:
            given = np.concatenate(list(enlarge(to_bytes(frames), scale)), axis=1)
            write_png(output.with_name(f"{output.stem}_prompt.png"), given)
        with measured() as cost:
            if config.save_frames:
                path = write_frames(output, pictures)
            else:
                write = write_mp4 if output.suffix == ".mp4" else write_animation
                path = write(output, pictures, config.fps or fps)
    except OSError as error:
        raise UserError(f"cannot write output={output} ({error.strerror or error})") from error
    # stdout has the path of the video alone
    print(
        f"{made.frames} frames, {made.passes_per_frame:.1f} passes and {made.seconds_per_frame:.3f} s each, "
        f"peak memory {cost.peak_rss_mb:.0f} MB",
        file=sys.stderr,
    )
    return path


def action_sequence(actions: Any, count: int, num_actions: int, seed: int, hold: int = 1) -> list[int]:
    """`count` actions: a whole number, or a list repeated until there are enough of them, or "random" ones, each taken
    `hold` times.

    A text "0,1,2" counts as a list. Raises UserError for anything else and for actions out of range.
    """
    if actions == "random":
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(num_actions, (-(-count // hold),), generator=generator)
        return drawn.repeat_interleave(hold)[:count].tolist()
    given = actions.split(",") if isinstance(actions, str) else actions if isinstance(actions, list) else [actions]
    try:
        numbers = [int(action) for action in given]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or any(isinstance(a, bool | float) for a in given):
        raise UserError(
            f"actions={actions}: give a whole number, a list of them such as [0,1,2], or random; this world has the "
            f"actions 0 … {num_actions - 1}"
        )
    for action in numbers:
        if not 0 <= action < num_actions:
            raise UserError(f"actions={actions}: there is no action {action}; this world has 0 … {num_actions - 1}")
    return list(itertools.islice(itertools.cycle(numbers), count))


def _check(config: GenerateConfig) -> None:
    if config.run is None and config.replay is None:
        raise UserError("'run' is not given: add run=outputs/<name>")
    prompt_kind(config)


def _output(config: GenerateConfig) -> Path:
    if config.output is None:
        return Path(config.run) / ("generated" if config.save_frames else "generated.mp4")
    output = Path(config.output)
    if config.save_frames:
        if output.is_file() or output.suffix == ".mp4":
            raise UserError(f"output={output}: with save_frames=true it is a folder, not a file")
    elif output.suffix not in (".mp4", ".webp", ".gif"):
        raise UserError(
            f"output={output}: give a name that ends in .mp4, .webp or .gif, or save_frames=true for a folder"
        )
    elif output.is_dir():
        raise UserError(f"output={output} is a folder; give another name")
    return output


def _prompt(config: GenerateConfig, world: WorldModel) -> tuple[Tensor, Tensor | None]:
    """Frames [T, 3, H, W] in [0, 1] and the actions int64 [T-1] between them, where the world takes them."""
    given = Prompter(config, world).given()
    if given is not None:
        return given, None
    clips = PromptClips(world.config["data"], world.image_size, config.prompt_frames)
    frames, actions = clips[config.prompt_clip]
    return frames, world.prompt_actions(actions)


def _labels(config: GenerateConfig, world: WorldModel) -> list[str]:
    """A name for each action, as on the page of genie.play."""
    try:
        names = PromptClips(world.config["data"], world.image_size, 1).info.action_meanings
    except UserError:  # the data are not here
        names = None
    suggested = suggest(Path(config.run), world.num_actions, world.takes_environment_actions, names)
    return action_labels(None, suggested)


def with_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture uint8 [H, W, 3] with a line of text below it."""
    return np.concatenate([picture, caption(text, CAPTION_HEIGHT, picture.shape[1])])


def _replayed(recording: SessionRecording, world: WorldModel, path: str) -> tuple[Tensor, Tensor | None]:
    """The prompt of a played session, as `_prompt` gives one; its actions are checked too."""
    unknown = [action for action in recording.actions if not 0 <= action < world.num_actions]
    if unknown:
        raise UserError(f"replay={path}: there is no action {unknown[0]}; this world has 0 … {world.num_actions - 1}")
    try:
        prompt = prompt_from(recording.prompt, world)
    except UserError as error:
        raise UserError(f"replay={path}: {error}") from error
    return prompt.frames, prompt.actions


def _rollout(
    world: WorldModel, prompt: Tensor, prompt_actions: Tensor | None, moves: list[tuple[int, Sampler]], seed: int,
    cost: GenerationCost,
) -> Iterator[Tensor]:  # fmt: skip
    """One frame [3, H, W] in [0, 1] for each (action, sampler), added to `cost`; with progress on a terminal."""
    device = world.device
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    with inference(device):
        known = None if prompt_actions is None else prompt_actions[None].to(device)
        state = world.reset(prompt[None].to(device), known, seed)
        for action, world.sampler in track(moves, "generating", console=console, transient=True):
            started = time.monotonic()
            state, step = world.step(state, torch.tensor([action], device=device))
            cost.add(step.passes.tolist(), time.monotonic() - started)
            yield step.observation[0]
