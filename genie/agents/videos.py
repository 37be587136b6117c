"""Videos of a play.

Videos of a play: the environment's screen, a plan's candidates, and what the world imagines beside what came.

Dimension letters: `T` observations, `h` steps imagined at a time.
"""

from pathlib import Path

import numpy as np
import torch

from genie.agents.agents import ActionTranslation, PlanningAgent, to_observations
from genie.agents.episodes import Episode
from genie.common.media import CONTEXT_COLOR, PREDICTED_COLOR, border, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.planning.plots import CELL, draw_candidates, plot_states, shows_frames
from genie.world.protocol import World

LONGEST = 200  # steps that are imagined again
LATEST = 50  # steps until the plan that is drawn: not the first, as many games begin with nothing to see


def write_episode(folder: Path, name: str, episode: Episode, fps: float) -> Path:
    """<name>_<number>.mp4: the screen, as a person sees it."""
    scale = scale_to(episode.screens[0].shape[0], CELL)
    frames = (enlarge(screen, scale) for screen in episode.screens)
    return write_mp4(folder / f"{name}_{episode.number:03d}.mp4", frames, fps)


@torch.no_grad()
def draw_imagined(
    folder: Path, world: World, episode: Episode, action_map: ActionTranslation | None, horizon: int
) -> Path | None:
    """imagined_against_real.mp4 (or .png for numbers): from the truth at every `horizon`-th step the world imagines the
    actions that were truly played, until it is told the truth again. Blue: given; orange: imagined."""
    seen = to_observations(np.stack(episode.observations[: LONGEST + 1])).to(world.device)[None]
    played = torch.from_numpy(np.stack(episode.actions[:LONGEST])).to(world.device)[None]
    if action_map is not None:
        played = action_map.to_latent(played[0])[None]
    imagined, told = [seen[0, 0]], [True]
    for start in range(0, played.shape[1], horizon):
        first = max(0, start + 1 - world.num_context)
        state = world.reset(seen[:, first : start + 1], played[:, first:start], seed=episode.seed)
        for step in range(start, min(start + horizon, played.shape[1])):
            state, outcome = world.step(state, played[:, step])
            imagined.append(outcome.observation[0])
            told.append(False)
    drawn = torch.stack(imagined)
    if not shows_frames(world):
        lines = {"real": seen[0].cpu().numpy(), "imagined": drawn.cpu().numpy()}
        return plot_states(lines, folder / "imagined_against_real.png")
    scale = scale_to(drawn.shape[-2], CELL)
    real, dreams = (enlarge(to_bytes(video), scale) for video in (seen[0], drawn))
    real = border(real, CONTEXT_COLOR, 3)
    dreams = np.stack([
        border(frame, CONTEXT_COLOR if known else PREDICTED_COLOR, 3)
        for frame, known in zip(dreams, told, strict=True)
    ])  # fmt: skip
    return write_mp4(
        folder / "imagined_against_real.mp4", grid([[real, dreams]], column_labels=["real", "imagined"]), world.fps
    )


def draw_plan(folder: Path, agent: PlanningAgent, episode: Episode) -> Path:
    """plan.mp4 (or .png for numbers): the best candidates of a decision in the middle of an episode, best first. What
    the agent remembers is of that episode then."""
    at = min(LATEST, episode.length // 2)
    agent.reset(episode.observations[0], episode.seed)
    for action, observation in zip(episode.actions[:at], episode.observations[1 : at + 1], strict=True):
        agent.observe(action, observation)
    agent.act()
    return draw_candidates(agent.world, agent.state, agent.plan, 0, folder, "plan")
