"""Maps between latent and environment actions, from a few transitions whose true actions are known.

Source: Genie (arXiv 2402.15391) §3.3: a policy in latent actions acts after a map from few labelled samples.

Dimension letters: `N` transitions, `B` batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from data_modules.clips import ClipDataset
from data_modules.data_info import count_actions
from genie.common.errors import UserError
from genie.common.random import fold_in
from genie.models import LatentActionModel
from genie.world.protocol import World

BATCH = 16  # clips that the latent action model reads at a time


@dataclass(frozen=True)
class ActionMap:
    """A table between latent and true actions, in both directions the most frequent partner.

    Attributes:
        counts: int64 [num_latent, num_true], frequencies of pairs; None for a world whose actions are the
            environment's: both directions are the identity, for numbers in [-1, 1] too.

    An action without pairs maps to the most frequent one of the other side; of equally frequent ones, to the first.
    """

    counts: Tensor | None = None

    @classmethod
    def fit(cls, latent: Tensor, true: Tensor, num_latent: int, num_true: int) -> "ActionMap":
        """From the actions of the same transitions, int64 [N] each."""
        pairs = latent.flatten() * num_true + true.flatten()
        return cls(torch.bincount(pairs.cpu(), minlength=num_latent * num_true).view(num_latent, num_true))

    def to_true(self, latent: Tensor) -> Tensor:
        """The environment's actions [B] for those of the world [B]."""
        return latent if self.counts is None else partners(self.counts).to(latent.device)[latent]

    def to_latent(self, true: Tensor) -> Tensor:
        """The world's actions [B] for those of the environment [B]."""
        return true if self.counts is None else partners(self.counts.T).to(true.device)[true]


def partners(counts: Tensor) -> Tensor:
    """int64 [rows]: the most frequent column of each row of counts, of all rows for an empty one."""
    seen = counts.sum(1, keepdim=True) > 0
    return torch.where(seen, counts, counts.sum(0)).argmax(1)


def fit_action_map(world: World, clips: ClipDataset, num_labels: int, seed: int, key: str = "labels") -> ActionMap:
    """The map of a world from `num_labels` transitions of labelled clips that `seed` draws, clip by clip; errors name
    `key` as the option of `num_labels`. Raises UserError where the clips have no actions or too few transitions, and
    for a world of latent actions without a latent action model."""
    if world.takes_environment_actions:
        return ActionMap()
    lam = getattr(world, "lam", None)
    if lam is None:
        raise UserError("this world has latent actions and no latent action model that it was trained with")
    num_true, _ = count_actions(clips.reader)
    if num_true is None:
        raise UserError(f"{clips.reader.path} records no actions: what latent ones mean cannot be learned from it")
    length = clips.num_frames - 1
    if not 1 <= num_labels <= length * len(clips):
        most = length * len(clips)
        raise UserError(f"{key}={num_labels}: these clips have {most:,} labelled transitions: give 1 to {most}")
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(fold_in(seed)))
    chosen = order[: -(-num_labels // length)].tolist()
    batches = (chosen[first : first + BATCH] for first in range(0, len(chosen), BATCH))
    latent, true = zip(*(_actions(world, lam, clips, batch) for batch in batches), strict=True)
    latent, true = torch.cat(latent)[:num_labels], torch.cat(true)[:num_labels]
    return ActionMap.fit(latent, true, lam.num_actions, num_true)


@torch.no_grad()
def _actions(world: World, lam: LatentActionModel, clips: ClipDataset, numbers: list[int]) -> tuple[Tensor, Tensor]:
    """Latent and true actions int64 [N] of the transitions of some clips."""
    batch = [clips[number] for number in numbers]
    frames = torch.stack([clip["frames"] for clip in batch])
    true = torch.stack([clip["actions"] for clip in batch])
    latent = lam.encode(frames.to(world.device).float() / 255)
    return latent.cpu().flatten(), true[:, :-1].flatten()
