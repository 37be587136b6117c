"""State of a Genie world between two frames.

Dimension letters: `B` batch, `n` visible frames, `C H W` channels and pixels, `S` tokens of one frame.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from genie.common.random import row_seeds
from genie.models.kv_cache import Past


@dataclass(frozen=True)
class Observed:
    """The true frames [B, n, C, H, W] of a state without imagined frames, and the encoder's past, so that one more
    frame is encoded as one frame."""

    frames: Tensor
    past: Past


@dataclass(frozen=True)
class WorldState:
    """The visible frames of B worlds; immutable, so branches are independent.

    Attributes:
        tokens: int64 [B, n, S], the newest last; a row of fewer frames ends with zeros (`lengths`).
        actions: int64 [B, n-1] between these frames.
        lengths: frames of each row; the longest has n.
        seeds, ages: int64 [B], the seed of each world and its number of generated frames: all its randomness.
        dynamics, decoder: caches, which affect only the time of a step.
        observed: see `Observed`.
    """

    tokens: Tensor
    actions: Tensor
    lengths: tuple[int, ...]
    seeds: Tensor
    ages: Tensor
    dynamics: Past
    decoder: Past
    observed: Observed | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, index: Tensor | list[int]) -> "WorldState":
        """The state of the rows `index` (int [B']), which may repeat to fork it. Keys and values are copied at the
        first step of the new state."""
        rows = index.tolist() if isinstance(index, Tensor) else list(index)
        lengths = tuple(self.lengths[row] for row in rows)
        at, n = torch.tensor(rows, device=self.tokens.device), max(lengths)
        observed = self.observed and Observed(self.observed.frames[at, :n], self.observed.past.select(rows))
        tokens, actions = self.tokens[at, :n], self.actions[at, : n - 1]
        pasts = self.dynamics.select(rows), self.decoder.select(rows)
        return WorldState(tokens, actions, lengths, self.seeds[at], self.ages[at], *pasts, observed)

    def reseeded(self, seed: int | Tensor) -> "WorldState":
        """The same worlds with other later draws: one seed for all (each row derives its own), or int64 [B]."""
        return replace(self, seeds=row_seeds(seed, len(self), self.tokens.device))

    @staticmethod
    def joined(states: list["WorldState"]) -> "WorldState":
        """Several states as one batch, whatever their lengths; keys and values are copied."""
        lengths = tuple(length for state in states for length in state.lengths)
        n = max(lengths)

        def stack(parts: list[Tensor], size: int, axes: int) -> Tensor:
            return torch.cat([F.pad(part, (*[0] * 2 * axes, 0, size - part.shape[1])) for part in parts])

        observed = None
        seen = [state.observed for state in states if state.observed is not None]
        if len(seen) == len(states):
            frames = stack([one.frames for one in seen], n, 3)
            observed = Observed(frames, Past.joined([one.past for one in seen]))
        tokens = stack([state.tokens for state in states], n, 1)
        actions = stack([state.actions for state in states], n - 1, 0)
        seeds, ages = (torch.cat([getattr(state, name) for state in states]) for name in ("seeds", "ages"))
        dynamics = Past.joined([state.dynamics for state in states])
        decoder = Past.joined([state.decoder for state in states])
        return WorldState(tokens, actions, lengths, seeds, ages, dynamics, decoder, observed)

    def slid(self, window: int, keep: int) -> "WorldState":
        """With the last `keep` frames of every row whose `window` is full, so that there is room for one more. The keys
        and values of the kept frames are recomputed: as in a training clip, they see nothing before the window."""
        full = [row for row, length in enumerate(self.lengths) if length >= window]
        if not full:
            return self
        lengths = tuple(min(length, keep) if length >= window else length for length in self.lengths)
        starts = [old - new for old, new in zip(self.lengths, lengths, strict=True)]
        n, device = max(lengths), self.tokens.device
        index = torch.tensor(starts)[:, None] + torch.arange(n)
        index = index.clamp_max(self.tokens.shape[1] - 1).to(device)  # values beyond a row's length are ignored
        rows = torch.arange(len(self), device=device)[:, None]
        observed = self.observed
        if observed is not None:
            observed = Observed(observed.frames[rows, index], observed.past.restarted(full))
        return replace(
            self,
            tokens=self.tokens[rows, index],
            actions=self.actions[rows, index[:, : n - 1].clamp_max(max(0, self.actions.shape[1] - 1))],
            lengths=lengths,
            dynamics=self.dynamics.restarted(full),
            decoder=self.decoder.restarted(full),
            observed=observed,
        )

    def appended(self, tokens: Tensor, actions: Tensor) -> "WorldState":
        """With one more frame, tokens int64 [B, S], that `actions` int64 [B] lead to."""
        rows = torch.arange(len(self), device=self.tokens.device)
        ends = torch.tensor(self.lengths, device=self.tokens.device)
        more, between = F.pad(self.tokens, (0, 0, 0, 1)), F.pad(self.actions, (0, 1))
        more[rows, ends] = tokens
        between[rows, ends - 1] = actions
        lengths = tuple(length + 1 for length in self.lengths)
        return replace(self, tokens=more, actions=between, lengths=lengths)
