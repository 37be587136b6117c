"""What an action does in a place where it was never taken.

A latent action is what was seen to happen. At a wall nothing happens when a paddle is pushed on, so no clip shows the
code of the push there: it shows the one of standing still. Whoever plays pushes on, and a model that has never seen it
moves the paddle out of the picture, for good. Recorded actions have such gaps, too, where the player never tried.

So training takes some of what happened under a seen action for what an unseen one does: under the nearest of those that
were taken in such a frame. That an action is unseen there is told by one token at its place: it came up on many
occasions, and the action was not taken while it was there. (Discrete BCQ, arXiv 1910.01708, leaves such actions out of
a policy.)

Dimension letters: `N` rows of the recording, `S` tokens of a frame, `A` actions, `B T` batch and frames of clips.
"""

import torch
from torch import Tensor

from genie.common.random import Stream, fold_in

VISITS = 100  # occasions on which a token comes up at its place before it tells anything
RARE = 0.005  # share of a token's frames in which an unseen action may have been taken: codes are a model's reading


def unseen_actions(tokens: Tensor, actions: Tensor, known: Tensor, first: Tensor, num_actions: int) -> Tensor:
    """bool [N, A]: the actions that are unseen in each frame.

    tokens [N, S] and actions [N] are whole numbers; `known` bool [N]: rows that an action was taken in; `first`
    bool [N]: those that do not follow the row before.
    """
    unseen = torch.zeros(len(tokens), num_actions, dtype=torch.bool, device=tokens.device)
    size = int(tokens.max()) + 1
    taken = actions[known].long()
    for place in tokens.unbind(1):
        place = place.long()
        comes = first.clone()
        comes[1:] |= place[1:] != place[:-1]
        visits = torch.bincount(place[comes], minlength=size)
        counts = torch.bincount(place[known] * num_actions + taken, minlength=size * num_actions)
        counts = counts.view(size, num_actions)
        never = counts <= RARE * counts.sum(1, keepdim=True)
        unseen |= (never & (visits >= VISITS)[:, None])[place]
    return unseen


def nearest_seen(unseen: Tensor, distance: Tensor, frequency: Tensor) -> Tensor:
    """int16 [N, A]: the action itself, or where it is unseen the nearest of the others, by `distance` [A, A]; of
    several the one with the highest `frequency` [A]. Where all are unseen, nothing is known: each stands for itself."""
    common = frequency.argsort(stable=True, descending=True)
    order = common[distance[:, common].argsort(stable=True, dim=1)]  # [A, A], nearest first
    nearest = torch.arange(len(distance), device=unseen.device).repeat(len(unseen), 1)
    for action, others in enumerate(order):
        seen = ~unseen[:, others]
        changes = unseen[:, action] & seen.any(1)
        nearest[changes, action] = others[seen[changes].int().argmax(1)]
    return nearest.to(torch.int16)


def with_unseen(actions: Tensor, nearest: Tensor, seeds: Tensor) -> Tensor:
    """`actions` int64 [B, T-1], each replaced by a random one of those that it is `nearest` [B, T-1, A] to."""
    length, count = nearest.shape[1:]
    generators = (torch.Generator().manual_seed(fold_in(seed, Stream.UNSEEN_ACTION)) for seed in seeds.tolist())
    draws = torch.stack([torch.rand(length, count, generator=generator) for generator in generators])
    stand = nearest == actions[..., None]
    drawn = draws.to(actions.device).masked_fill(~stand, -1).argmax(-1)
    return torch.where(stand.any(-1), drawn, actions)
