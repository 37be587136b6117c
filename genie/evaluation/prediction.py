"""How far ahead does a world see? The error of what it imagines against the horizon, for worlds of any kind.

Fully autoregressive: after the given observations it imagines under the true actions, and is told nothing more. Errors
are those of observations (pixels, or the numbers of a state), and for a world of tokens of these, too. Beside them
stands what needs no world: the last given observation, for ever.

Dimension letters: `N` clips, `T` observations of one, `O` the shape of an observation, `n` horizon, `S` tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from genie.errors import UserError
from genie.evaluation.clips import in_windows
from genie.evaluation.latent_actions import infer_actions
from genie.evaluation.subject import Trained
from genie.world.noise import row_seeds
from genie.world.protocol import World
from genie.world.world_model import WorldModel


@dataclass(frozen=True)
class PredictionErrors:
    """Each a list over the horizon, with its `_copy_last`.

    Attributes:
        error: root mean squared error: of pixels in [0, 1], or of the numbers of a state in their standard deviations
            over all clips, so that 1 is no better than knowing nothing.
        token_error: share of the tokens that are not those of the true frame; None for a world without tokens.
    """

    error: list[float]
    error_copy_last: list[float]
    token_error: list[float] | None = None
    token_error_copy_last: list[float] | None = None


def actions_between(world: World, observations: Tensor, recorded: Tensor | None) -> Tensor:
    """What the world takes between `observations` [N, T, *O]: [N, T-1, …]. `recorded` [N, T, …] are the true ones.

    Raises UserError where neither the data nor a latent action model tell.
    """
    if world.takes_environment_actions:
        if recorded is None:
            raise UserError("the world takes true actions and the data record none")
        return recorded[:, :-1].to(world.device)
    if world.lam is None:
        raise UserError("this world has latent actions and no latent action model that it was trained with")
    return infer_actions(Trained(world.lam, world.window), observations)


@torch.no_grad()
def prediction_errors(
    world: World, observations: Tensor, actions: Tensor, prompt: int, batch_size: int, seed: int
) -> PredictionErrors:
    """Of clips `observations` [N, T, *O] with the world's `actions` [N, T-1, …] between them: `prompt` observations are
    given, the other n = T - prompt imagined. Clips are imagined `batch_size` at a time; figures do not depend on it."""
    seeds = row_seeds(seed, len(observations), world.device)
    imagined, tokens = [], []
    for rows in torch.arange(len(observations)).split(batch_size):
        seen, done = observations[rows].to(world.device), actions[rows.to(actions.device)].to(world.device)
        state = world.reset(seen[:, :prompt], done[:, : prompt - 1], seeds[rows])
        steps = []
        for action in done[:, prompt - 1 :].unbind(1):
            state, step = world.step(state, action)
            steps.append(step)
        imagined.append(torch.stack([step.observation for step in steps], dim=1).cpu())
        if isinstance(world, WorldModel):
            true = in_windows(lambda part: (world.tokenizer.encode(part),), seen, world.window)[0][:, prompt - 1 :]
            made = torch.stack([step.tokens for step in steps], dim=1)
            tokens.append(torch.stack([made != true[:, 1:], (true[:, :1] != true[:, 1:])]).float().mean(-1).cpu())
    target, made = observations[:, prompt:].cpu(), torch.cat(imagined)
    unit = _units(observations.cpu())
    found = [_errors(video, target, unit) for video in (made, observations[:, prompt - 1 : prompt].cpu())]
    shares = torch.cat(tokens, dim=1).mean(1).tolist() if tokens else (None, None)
    return PredictionErrors(*found, *shares)


def _units(observations: Tensor) -> Tensor:
    """What errors are counted in: 1 for frames, the standard deviation [n] of each number of a state. A number that
    never changes counts in its own units."""
    if observations.ndim > 3:
        return torch.ones(())
    spread = observations.flatten(0, 1).std(0)
    return torch.where(spread > 0, spread, 1.0)


def _errors(made: Tensor, target: Tensor, unit: Tensor) -> list[float]:
    squares = ((made - target) / unit).square()
    return squares.mean(dim=(0, *range(2, squares.ndim))).sqrt().tolist()
