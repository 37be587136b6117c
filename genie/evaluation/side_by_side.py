"""Imagined beside real, further ahead than the figures look: a video, or curves of the numbers of a state.

Dimension letters: `N` clips, `T` observations, `P` given ones, `n` numbers of a state.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genie.evaluation.clips import Clips
from genie.evaluation.imagined import imagine_clips
from genie.evaluation.rollout_video import draw_videos
from genie.planning.plots import plot_states, shows_frames
from genie.world.protocol import World


@dataclass(frozen=True)
class SideSettings:
    """`clips` that are shown, of which `prompt` observations are given; `fps` of the video, `seed` of the draws."""

    clips: int
    prompt: int
    fps: float
    seed: int


def draw_side_by_side(world: World, clips: Clips, settings: SideSettings, folder: Path) -> Path:
    """side_by_side.mp4 for a world of frames, a row for each clip: real, imagined under the same actions, and their
    difference. side_by_side.png for a world of states: each of its first numbers, one clip behind the other."""
    clips = clips.sample(settings.clips)
    imagined = imagine_clips(world, clips, settings.prompt, settings.seed).observations
    if not shows_frames(world):
        return plot_states(state_lines(clips.observations, imagined), folder / "side_by_side.png")
    path = folder / "side_by_side.mp4"
    video = (imagined * 255).round().byte()
    draw_videos(clips.frames, video, settings.prompt, ["real", "imagined", "error"], settings.fps, path)
    return path


def state_lines(real: Tensor, imagined: Tensor) -> dict[str, np.ndarray]:
    """Lines [N·(T+1), n] of clips [N, T, n] behind each other, with a gap after each. The imagined one begins at the
    last state that was given."""
    prompt = real.shape[1] - imagined.shape[1]
    drawn = torch.cat([torch.full_like(real[:, : prompt - 1], torch.nan), real[:, prompt - 1 : prompt], imagined], 1)
    gap = torch.full_like(real[:, :1], torch.nan)
    lines = {"real": real, "imagined": drawn}
    return {name: torch.cat([line, gap], 1).flatten(0, 1).numpy() for name, line in lines.items()}
