"""Recurrent state-space model: a neural simulator that imagines in a small latent state.

Sources: PlaNet (Hafner et al. 2019, arXiv 1811.04551: a deterministic and a stochastic part, filtering and imagining),
DreamerV2 (arXiv 2010.02193: categorical latents, straight-through gradients), DreamerV3 (arXiv 2301.04104: norms, the
mix with the uniform distribution, the gated cell).

    h_t = cell(h_{t-1}, z_{t-1}, a_{t-1})      z_t ~ posterior(h_t, frame_t), or without the frame ~ prior(h_t)

Dimension letters: `B` batch, `T` frames, `n` imagined steps, `C H W` channels and pixels, `A` action vector, `E` vector
of a frame, `D` deterministic part, `G` groups of `K` classes, the stochastic part, `F` = D + G·K features.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import full_precision
from genie.models.frame_coders import FrameDecoder, FrameEncoder, Normed
from genie.models.heads import ActionVectors, OutcomeHeads
from genie.models.patches import Patches


def log_probabilities(logits: Tensor, uniform: float) -> Tensor:
    """Log-probabilities fp32 [..., G, K] with a share `uniform` (0 … 1) spread over all classes: divergences stay
    finite."""
    logits = logits.float().log_softmax(-1)
    if not uniform:
        return logits
    even = torch.full_like(logits, math.log(uniform / logits.shape[-1]))
    return torch.logaddexp(logits + math.log1p(-uniform), even)


def draw(log_probs: Tensor, noise: Tensor | None) -> Tensor:
    """One-hot [..., G, K] with the gradient of the probabilities (straight-through), drawn by `noise` [..., G] in [0,
    1); None takes the most likely classes."""
    probs = log_probs.exp()
    if noise is None:
        chosen = probs.argmax(-1, keepdim=True)
    else:
        below = probs.cumsum(-1) <= noise[..., None]
        chosen = below.sum(-1, keepdim=True).clamp_max(probs.shape[-1] - 1)  # the last sum may be a little below 1
    hot = (chosen == torch.arange(probs.shape[-1], device=probs.device)).to(probs.dtype)
    return hot + probs - probs.detach()


def sample(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Classes int64 [...] of probabilities [..., K] by the inverse cumulative distribution of `noise` [...] in [0,
    1)."""
    below = probabilities.cumsum(-1)
    drawn = torch.searchsorted(below, noise[..., None] * below[..., -1:], right=True)[..., 0]
    return drawn.clamp_max(probabilities.shape[-1] - 1)  # where rounding made the product the sum itself


def kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(first ‖ second) [...] in nats, summed over groups, of log-probabilities [..., G, K]."""
    return (first.exp() * (first - second)).sum((-2, -1))


def entropy(log_probs: Tensor) -> Tensor:
    """[...] in nats, summed over groups, of log-probabilities [..., G, K]."""
    return -(log_probs.exp() * log_probs).sum((-2, -1))


@dataclass
class Beliefs:
    """A sequence of states: `hidden` [B, T, D], `latent` [B, T, G·K], and the log-probabilities [B, T, G, K] of the
    `prior` and of the `posterior` (None without frames)."""

    hidden: Tensor
    latent: Tensor
    prior: Tensor
    posterior: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """[B, T, F]"""
        return torch.cat([self.hidden, self.latent], -1)


class GatedCell(nn.Module):
    """A GRU whose gates are normalised together and initially keep most of the state."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + width, 3 * width)
        self.norm = nn.RMSNorm(3 * width)

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """inputs [B, I], hidden [B, D] in [-1, 1] → [B, D]"""
        reset, candidate, update = self.norm(self.gates(torch.cat([inputs, hidden], -1))).chunk(3, -1)
        update = (update - 1).sigmoid()
        return update * (reset.sigmoid() * candidate).tanh() + (1 - update) * hidden


class Rssm(nn.Module):
    """Simulator on frames.

    Args:
        image_size: H and W in pixels.
        num_actions, action_size: see `ActionVectors`.
        patch_size: of encoder and decoder; sizes that do not divide are padded.
        encoder: conv | vit (see `FrameEncoder`); `vit`: its options.
        channels: of the patches' grid, in the convolutions of encoder and decoder.
        deterministic: D.
        groups, classes: G and K.
        uniform: share of the uniform distribution in prior and posterior.
        width, head_layers: of the hidden layers between the parts, and of reward and continuation.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        num_actions: int | None,
        action_size: int | None,
        patch_size: int,
        encoder: str,
        vit: dict,
        channels: int,
        deterministic: int,
        groups: int,
        classes: int,
        uniform: float,
        width: int,
        head_layers: int,
    ) -> None:
        super().__init__()
        if min(groups, deterministic, width, channels) < 1 or classes < 2:
            raise ValueError(f"groups={groups}, classes={classes}: there is at least a group of two classes")
        if not 0 <= uniform < 1:
            raise ValueError(f"uniform={uniform} is not in [0, 1)")
        patches = Patches(tuple(image_size), patch_size)
        self.groups, self.classes, self.uniform, self.deterministic = groups, classes, uniform, deterministic
        self.actions = ActionVectors(num_actions, action_size)
        self.encoder = FrameEncoder(patches, encoder, channels, vit)
        self.from_frame = nn.Linear(self.encoder.size, width)
        self.inputs = nn.Sequential(nn.Linear(groups * classes + self.actions.size, width), Normed(width))
        self.cell = GatedCell(width, deterministic)
        self.from_hidden = nn.Linear(deterministic, width)
        self.posterior = nn.Sequential(Normed(width), nn.Linear(width, groups * classes))
        self.prior = nn.Sequential(nn.Linear(deterministic, width), Normed(width), nn.Linear(width, groups * classes))
        self.decoder = FrameDecoder(self.num_features, patches, channels)
        self.outcomes = OutcomeHeads(self.num_features, width, head_layers)

    @property
    def num_features(self) -> int:
        """F."""
        return self.deterministic + self.groups * self.classes

    def start_from(self, frame: Tensor) -> None:
        """Takes `frame` [C, H, W] in [0, 1] (the background) as the typical one: see `VideoTokenizer.start_from`."""
        self.encoder.embedding.start_from(frame)
        self.decoder.to_pixels.start_from(frame)

    def encode(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → evidence of each frame for its state, fp32 [B, T, width]."""
        return self.from_frame(self.encoder(frames)).float()

    def incoming(self, actions: Tensor) -> Tensor:
        """Actions [B, T-1] or [B, T-1, A] between frames → vectors [B, T, A] that led to each, zeros to the first."""
        return F.pad(self.actions(actions), (0, 0, 1, 0))

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden and latent part of features [..., F]."""
        hidden, latent = features.split([self.deterministic, self.groups * self.classes], -1)
        return hidden, latent

    def filter(
        self, evidence: Tensor, incoming: Tensor, noise: Tensor | None = None, before: Tensor | None = None
    ) -> Beliefs:
        """States of true frames, given these and all before them.

        Args:
            evidence: [B, T, width] of `encode`.
            incoming: vectors [B, T, A] of the actions that led to each.
            noise: [B, T, G] in [0, 1), of the draws; None: the most likely classes.
            before: features [B, F] of the state before the first; None: the initial state.
        """
        before = evidence.new_zeros(len(evidence), self.num_features) if before is None else before
        states = []
        with full_precision(evidence):  # errors accumulate over steps
            hidden, latent = self.split(before)
            for t in range(evidence.shape[1]):
                hidden = self._advance(hidden, latent, incoming[:, t])
                posterior = self._distribution(self.posterior(self.from_hidden(hidden) + evidence[:, t]))
                latent = draw(posterior, None if noise is None else noise[:, t]).flatten(-2)
                states.append((hidden, latent, posterior))
            hiddens, latents, posteriors = zip(*states, strict=True)
            hidden = torch.stack(hiddens, 1)
            prior = self._distribution(self.prior(hidden))
            return Beliefs(hidden, torch.stack(latents, 1), prior, torch.stack(posteriors, 1))

    def imagine(self, features: Tensor, actions: Tensor, noise: Tensor | None = None) -> Beliefs:
        """The states after features [B, F] under action vectors [B, n, A]; `noise` [B, n, G] as in `filter`."""
        states = []
        with full_precision(features):
            hidden, latent = self.split(features)
            for t in range(actions.shape[1]):
                hidden = self._advance(hidden, latent, actions[:, t])
                prior = self._distribution(self.prior(hidden))
                latent = draw(prior, None if noise is None else noise[:, t]).flatten(-2)
                states.append((hidden, latent, prior))
            return Beliefs(*(torch.stack(parts, 1) for parts in zip(*states, strict=True)))

    def decode(self, features: Tensor) -> Tensor:
        """Features [B, T, F] → logits fp32 [B, T, C, H, W] of frames."""
        return self.decoder(features)

    def example_forward(self, frames: Tensor) -> None:
        """One pass on frames [B, T, C, H, W], to count operations."""
        incoming = frames.new_zeros(*frames.shape[:2], self.actions.size)
        features = self.filter(self.encode(frames), incoming).features
        self.decode(features)
        self.outcomes.predict(features)

    def _advance(self, hidden: Tensor, latent: Tensor, action: Tensor) -> Tensor:
        return self.cell(self.inputs(torch.cat([latent, action], -1)), hidden)

    def _distribution(self, logits: Tensor) -> Tensor:
        return log_probabilities(logits.unflatten(-1, (self.groups, self.classes)), self.uniform)
