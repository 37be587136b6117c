"""Imagined rollouts of a plan's candidates: videos of frames, plots of numbers.

Dimension letters: `R` rows, `H` steps, `O` the shape of an observation, `T` observations, `n` numbers of a state.
"""

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from genie.common.media import enlarge, grid, scale_to, to_bytes, write_mp4
from genie.common.plots import save_figure, whole_ticks
from genie.planning.search import Plan
from genie.world.protocol import State, World

CELL = 128  # pixels: minimal height of a frame
PANELS = 6  # numbers of a state that are drawn


@torch.no_grad()
def imagine(world: World, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Observations [R, H, *O] and rewards [R, H] of `actions` [R, H, …]; after an end, rewards are 0."""
    observations, rewards = [], []
    alive = torch.ones(len(actions), device=actions.device)
    for action in actions.unbind(1):
        state, step = world.step(state, action)
        observations.append(step.observation)
        rewards.append(alive * step.reward)
        alive = alive * step.continues
    return torch.stack(observations, dim=1), torch.stack(rewards, dim=1)


def shows_frames(world: World) -> bool:
    """Whether the world's observations are frames [C, H, W], and not numbers."""
    return len(world.observation_shape) == 3


def draw_candidates(world: World, state: State, plan: Plan, row: int, folder: Path, name: str) -> Path:
    """The candidates of one row of a plan, best first, each with the sum of its imagined rewards.

    `state`: the one that was planned from. Writes <name>.mp4 for frames, else <name>.png.
    """
    candidates = plan.candidates[row]
    forks = state.select([row] * len(candidates))
    start = world.decode(forks)[:, None]
    observations, rewards = imagine(world, forks, candidates)
    seen = torch.cat([start, observations], dim=1)
    labels = [f"{number}: {total:.2f}" for number, total in enumerate(rewards.sum(1).tolist(), 1)]
    if not shows_frames(world):
        return plot_states(dict(zip(labels, seen.cpu().numpy(), strict=True)), folder / f"{name}.png")
    videos = to_bytes(seen)
    scale = scale_to(videos.shape[-3], CELL)
    frames = grid([list(enlarge(videos, scale))], column_labels=labels)
    return write_mp4(folder / f"{name}.mp4", frames, world.fps)


def plot_states(lines: dict[str, np.ndarray], path: Path) -> Path:
    """The first `PANELS` numbers of a state against the step: `lines` [T, n] by their labels; gaps are NaN."""
    count = min(PANELS, next(iter(lines.values())).shape[1])
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(4.2 * columns, 2.6 * rows), layout="constrained")
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if number >= count:
            axes.set_axis_off()
            continue
        for label, line in lines.items():
            axes.plot(line[:, number], label=label, linewidth=1.2)
        axes.set(xlabel="step", ylabel=f"number {number}")
        whole_ticks(axes)
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), fontsize="small", loc="outside upper center", ncols=4)
    save_figure(figure, path)
    return path
