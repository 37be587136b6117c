"""Action grid: one prompt, continued once with every action held."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data_modules.held_out_clips import Clips
from genie.common.media import border_by_origin, enlarge, grid, scale_to, to_bytes, write_mp4, write_png
from genie.evaluation.latent_actions import latent_labels, true_names
from genie.evaluation.part import Evaluation, Part
from genie.evaluation.rollout import generate, known_actions
from genie.evaluation.trained_run import TrainedRun

STRIP_COLUMNS = 8  # moments in the film strip


@dataclass(frozen=True)
class GridSettings:
    """`prompt_frames` given and `frames` generated ones, `seed` of the sampler, `fps` of the video."""

    prompt_frames: int
    frames: int
    seed: int
    fps: float


def draw_action_grid(run: TrainedRun, clips: Clips, labels: list[str], settings: GridSettings, folder: Path) -> None:
    """Writes action_grid.mp4 (a row for each action, a column for each of the prompts in `clips`) and the film strip
    action_grid.png (the first prompt, a column for each of some moments).

    `labels`: of the actions. All rows draw the same noise.
    """
    prompt, count = settings.prompt_frames, settings.frames
    world, num_clips = run.world, len(clips)
    frames = clips.floats()
    before = known_actions(run, clips, prompt - 1)
    scale = scale_to(frames.shape[-2], 128)
    rows = []
    for action in range(world.num_actions):
        held = torch.full((num_clips, count), action, device=world.device)
        made = generate(world, frames, torch.cat([before, held], dim=1), prompt, count, settings.seed)
        videos = to_bytes(torch.cat([frames[:, :prompt], made], dim=1))  # [N, T, H, W, 3]
        rows.append([border_by_origin(enlarge(video, scale), prompt, 3) for video in videos])
    columns = [f"prompt {index + 1}" for index in range(num_clips)]
    write_mp4(folder / "action_grid.mp4", grid(rows, labels, columns), settings.fps)
    moments = np.linspace(prompt - 1, prompt + count - 1, min(STRIP_COLUMNS, count + 1)).round().astype(int)
    strip = [[row[0][moment] for moment in moments] for row in rows]
    times = [f"{moment - prompt + 1:+d}" if moment >= prompt else "prompt" for moment in moments]
    write_png(folder / "action_grid.png", grid(strip, labels, times))


def _measure(evaluation: Evaluation) -> dict:
    """No metrics. The rows are named after the true actions where these are known."""
    run, clips, config = evaluation.run, evaluation.clips, evaluation.config
    grid = GridSettings(config.prompt_frames, config.grid.frames, config.seed, config.fps)
    num_actions, labels = run.world.num_actions, true_names(clips)
    if not (run.takes_environment_actions and len(labels) == num_actions):
        labels = latent_labels(num_actions, evaluation.figures.get("lam", {}).get("confusion"), labels)
    draw_action_grid(run, clips.sample(config.grid.prompts), labels, grid, evaluation.folder)
    return {}


ACTION_GRID = Part("action_grid", _measure, needs=("genie", "dynamics"))
