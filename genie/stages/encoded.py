"""Tokens and latent actions of a recording, computed once, and its unseen actions.

A frame is in many training clips, and its tokens are the same in all of them where the tokenizer's encoder sees each
frame alone. A latent action is the same where the latent action model `compares_two_frames`, but for the transitions
before it, of which a clip's first ones have fewer: it is kept for each number of them.

Unseen actions: at a wall nothing happens when a paddle is pushed on, so clips show the latent action of standing still
there and never that of the push, and a model moves the paddle of a player who pushes on out of the picture. Recorded
actions have such gaps, too. So training also takes what happened under a seen action for the effect of an unseen one:
of the nearest that was taken in such a frame. An action is unseen in a frame where one token at its place appeared on
many occasions without it. (Discrete BCQ, arXiv 1910.01708, leaves such actions out of a policy.)

Dimension letters: `N` rows of the recording, `B` batch, `T` frames of a clip, `S` tokens of a frame, `A` actions, `P`
transitions that an action looks back at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from data_modules.clips import ClipDataset
from data_modules.worker_loader import DamagedData
from genie.common.random import Stream
from genie.models import LatentActionModel, VideoTokenizer
from genie.models.baselines import FrameNetwork, SpatialTransformer
from genie.stages.masking import generators

AT_ONCE = 64  # frames through the encoders
LEAST_USE = 2  # how often training has to see a frame before it pays
MOST_BYTES = 2**28  # of all tokens, on the device: a million frames of 64
VISITS = 100  # occasions on which a token appears at its place before it shows an action to be unseen
RARE = 0.005  # share of a token's frames in which an unseen action may have been taken: codes are a model's reading


@dataclass(frozen=True)
class Encoded:
    """`tokens` int32 [N, S]; `actions` int32 [P + 1, N], from each row on after 0 … P transitions of its clip, None
    where they depend on more; `stride`: rows from one frame of a clip to the next; `nearest` int16 [N, A]: the action
    that each action stands for in a row (`nearest_seen`), None: itself. Rows of no clip are 0."""

    tokens: Tensor
    actions: Tensor | None
    stride: int
    nearest: Tensor | None = None

    def tokens_of(self, first: Tensor, length: int) -> Tensor:
        """int64 [B, T, S] of clips of `length` frames that begin at the rows `first` int64 [B]."""
        return self.tokens[self._rows(first, length)].long()

    def actions_of(self, first: Tensor, length: int) -> Tensor:
        """int64 [B, T-1] of the same clips."""
        before = torch.arange(length - 1, device=first.device).clamp_max(len(self.actions) - 1)
        return self.actions[before, self._rows(first, length - 1)].long()

    def with_unseen(self, actions: Tensor, first: Tensor, seeds: Tensor) -> Tensor:
        """`actions` int64 [B, T-1] of the same clips, of `seeds` int64 [B], some replaced by unseen ones."""
        if self.nearest is None:
            return actions
        return with_unseen(actions, self.nearest[self._rows(first, actions.shape[1])], seeds)

    def _rows(self, first: Tensor, length: int) -> Tensor:
        return first[:, None] + self.stride * torch.arange(length, device=first.device)


def pays(dataset: ClipDataset, tokenizer: VideoTokenizer, clips: int) -> bool:
    """Whether to encode a data set once for a training on `clips` of it: where the tokens of a frame do not depend on
    those before it, no clip has augmented frames or frames after an episode, and the data are neither too large nor
    too rarely used."""
    if not isinstance(tokenizer.encoder, FrameNetwork | SpatialTransformer):
        return False
    inside = bool((dataset.last + dataset.span <= dataset.episodes[:, 1]).all())
    frames = int((dataset.episodes[:, 1] - dataset.episodes[:, 0]).sum())
    fits = 4 * tokenizer.num_tokens * int(dataset.episodes[:, 1].max()) <= MOST_BYTES
    return inside and fits and dataset.augmentation is None and clips * dataset.num_frames >= LEAST_USE * frames


@torch.no_grad()
def encode(
    dataset: ClipDataset, tokenizer: VideoTokenizer, lam: LatentActionModel | None, device: torch.device
) -> Encoded | None:
    """All frames of the data set's episodes, read in order; None where one cannot be read.

    Actions are those of a `lam` that `compares_two_frames`; another one, or none, gives no actions.
    """
    lam = lam if lam is not None and lam.compares_two_frames else None
    count = int(dataset.episodes[:, 1].max())
    tokens = torch.zeros(count, tokenizer.num_tokens, dtype=torch.int32, device=device)
    past = 0 if lam is None else len(lam.from_past)
    actions = None if lam is None else torch.zeros(past + 1, count, dtype=torch.int32, device=device)
    for rows, new in windows(dataset, past + 1):  # a transition needs those before it
        try:
            read = dataset.reader.frames(rows.start, rows.stop, rows.step)
        except DamagedData:
            return None
        frames = torch.from_numpy(read).to(device).permute(0, 3, 1, 2).contiguous()[None].float() / 255
        here = torch.tensor(rows, device=device)
        tokens[here[new:]] = tokenizer.encode(frames[:, new:])[0].to(torch.int32)
        if lam is not None and len(rows) > 1:
            first = max(0, new - 1)  # the frame before the first new one
            actions[:, here[first:-1]] = lam.encode_by_past(frames)[:, 0, first:].to(torch.int32)
    return Encoded(tokens, actions, dataset.stride)


def windows(dataset: ClipDataset, before: int) -> Iterator[tuple[range, int]]:
    """Consecutive rows of clips: at most `AT_ONCE` new ones after up to `before` that were new a window earlier, and
    the number of the latter. Every row of an episode is new once."""
    for first, end in dataset.episodes.tolist():
        for phase in range(first, min(first + dataset.stride, end)):
            rows = range(phase, end, dataset.stride)
            for start in range(0, len(rows), AT_ONCE):
                begin = max(0, start - before)
                yield rows[begin : start + AT_ONCE], start - begin


# -- unseen actions ---------------------------------------------------------------------------------------------------


def know_unseen(encoded: Encoded, dataset: ClipDataset, lam: LatentActionModel | None, num_actions: int) -> Encoded:
    """`encoded` with `nearest`: of latent actions by the distance of their codes; recorded ones (no `lam`) are all at
    the same distance."""
    device = encoded.tokens.device
    count, ids = len(encoded.tokens), torch.arange(num_actions, device=device)
    if lam is None:
        actions = torch.from_numpy(dataset.reader.column("actions", 0, count)).to(device)
        distance = (ids[:, None] != ids).float()
    else:
        codes = lam.quantizer.lookup(ids).float()
        actions, distance = encoded.actions[-1], torch.cdist(codes, codes)
    known, first = torch.zeros(2, count, dtype=torch.bool, device=device)
    for begin, end in dataset.episodes.tolist():
        known[begin : max(begin, end - dataset.stride)], first[begin] = True, True
    unseen = unseen_actions(encoded.tokens, actions, known, first, num_actions)
    frequency = torch.bincount(actions[known], minlength=num_actions).float()
    return replace(encoded, nearest=nearest_seen(unseen, distance, frequency))


def unseen_actions(tokens: Tensor, actions: Tensor, known: Tensor, first: Tensor, num_actions: int) -> Tensor:
    """bool [N, A]: the actions that are unseen in each frame.

    tokens [N, S] and actions [N] are integers; `known` bool [N]: rows that an action was taken in; `first`
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
    several the one with the highest `frequency` [A]. Where all are unseen, each stands for itself."""
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
    draws = [torch.rand(length, count, generator=each) for each in generators(seeds, Stream.UNSEEN_ACTION)]
    stand = nearest == actions[..., None]
    drawn = torch.stack(draws).to(actions.device).masked_fill(~stand, -1).argmax(-1)
    return torch.where(stand.any(-1), drawn, actions)
