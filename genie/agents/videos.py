"""Videos of a play: the screen, the candidates of a plan, imagined frames beside the true ones.

Dimension letters: `T` observations.
"""

from pathlib import Path

import numpy as np
import torch

from genie.agents.agents import ActionTranslation, PlanningAgent, to_observations
from genie.agents.episodes import Episode
from genie.common.media import CONTEXT_COLOR, PREDICTED_COLOR, border, enlarge, grid, scale_to, to_bytes, write_mp4
from genie.planning.plots import CELL, draw_candidates, plot_states, shows_frames
from genie.world.protocol import World

LONGEST = 200  # steps of an episode that are imagined
LATEST = 50  # steps before the plan that is drawn: not the first plan, as many games begin with nothing to see


def write_episode(folder: Path, name: str, episode: Episode, fps: float) -> Path:
    """<name>_<number>.mp4: the screen."""
    scale = scale_to(episode.screens[0].shape[0], CELL)
    frames = (enlarge(screen, scale) for screen in episode.screens)
    return write_mp4(folder / f"{name}_{episode.number:03d}.mp4", frames, fps)


@torch.no_grad()
def draw_imagined(
    folder: Path, world: World, episode: Episode, action_map: ActionTranslation | None, horizon: int
) -> Path | None:
    """imagined_against_real.mp4 (.png for numbers): the world imagines the actions that were played, starting from the
    true observation at every `horizon`-th step. Blue: given; orange: imagined."""
    seen = to_observations(np.stack(episode.observations[: LONGEST + 1])).to(world.device)[None]
    played = torch.from_numpy(np.stack(episode.actions[:LONGEST])).to(world.device)[None]
    if action_map is not None:
        played = action_map.to_latent(played[0])[None]
    imagined, given = [seen[0, 0]], [True]
    for start in range(0, played.shape[1], horizon):
        first = max(0, start + 1 - world.num_context)
        state = world.reset(seen[:, first : start + 1], played[:, first:start], seed=episode.seed)
        for step in range(start, min(start + horizon, played.shape[1])):
            state, outcome = world.step(state, played[:, step])
            imagined.append(outcome.observation[0])
            given.append(False)
    drawn = torch.stack(imagined)
    if not shows_frames(world):
        lines = {"real": seen[0].cpu().numpy(), "imagined": drawn.cpu().numpy()}
        return plot_states(lines, folder / "imagined_against_real.png")
    scale = scale_to(drawn.shape[-2], CELL)
    real, generated = (enlarge(to_bytes(video), scale) for video in (seen[0], drawn))
    colors = [CONTEXT_COLOR if known else PREDICTED_COLOR for known in given]
    generated = np.stack([border(frame, color, 3) for frame, color in zip(generated, colors, strict=True)])
    frames = grid([[border(real, CONTEXT_COLOR, 3), generated]], column_labels=["real", "imagined"])
    return write_mp4(folder / "imagined_against_real.mp4", frames, world.fps)


def draw_plan(folder: Path, agent: PlanningAgent, episode: Episode) -> Path:
    """plan.mp4 (.png for numbers): the best candidates of a decision in the middle of an episode, best first.

    Leaves the agent in the state of that decision."""
    at = min(LATEST, episode.length // 2)
    agent.reset(episode.observations[0], episode.seed)
    for action, observation in zip(episode.actions[:at], episode.observations[1 : at + 1], strict=True):
        agent.observe(action, observation)
    agent.act()
    return draw_candidates(agent.world, agent.state, agent.plan, 0, folder, "plan")
