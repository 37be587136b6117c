"""MaskGIT sampler of a frame's tokens: predict all, keep the most certain, predict the rest again.

Sources: MaskGIT (arXiv 2202.04200) §3.2; Genie (arXiv 2402.15391) §2.1: 25 steps, temperature 2. Keeping all tokens
below a bound of entropy: EB-Sampler (arXiv 2505.24857), here with the bound on each token instead of on their sum.

Dimension letters: `B` batch, `S` tokens of one frame, `U` tokens that a pass predicts, `K` codes.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from genie.common.random import FrameNoise
from genie.models.rssm import sample

ORDERS = ("confidence", "random")
SURE = 1e6  # added to the score of tokens below the bound

# tokens int64 [B, S] with mask tokens, positions int64 [B, U] (None: all in order) → logits float [B, U, K] there
Predict = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Sampler:
    """How a frame's tokens are drawn.

    Attributes:
        steps: passes of the model for one frame; after pass i of n at most ⌊S · cos(π/2 · i/n)⌋ tokens are still
            unknown. A pass that would reveal none is skipped: see `passes`.
        temperature: divisor of the logits before drawing; 0 takes the most likely token.
        order: which of the drawn tokens are kept: the most probable ones ("confidence", from the logits before the
            temperature), or "random" ones.
        entropy_bound: nats. All tokens whose distribution (before the temperature) has no more entropy are kept in the
            same pass, at least one: a static frame takes few passes (adaptive sampling), at most `steps`. None: the
            schedule alone decides (MaskGIT).
    """

    steps: int = 25
    temperature: float = 2.0
    order: str = "confidence"
    entropy_bound: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a frame takes at least one step")
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature} must not be negative")
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r}: choose one of {', '.join(ORDERS)}")
        if self.entropy_bound is not None and self.entropy_bound < 0:
            raise ValueError(f"entropy_bound={self.entropy_bound} must not be negative (nats; null: no bound)")

    def passes(self, num_tokens: int) -> list[int]:
        """Minimum number of known tokens after each pass: increasing, ending with S."""
        counts = [math.floor(num_tokens * math.cos(math.pi / 2 * i / self.steps)) for i in range(1, self.steps)]
        known = [0, *(num_tokens - count for count in counts), num_tokens]
        return [count for before, count in itertools.pairwise(known) if count > before]

    @torch.no_grad()
    def sample(
        self, predict: Predict, noise: FrameNoise, num_tokens: int, mask_token: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """tokens int64 [B, S], the passes int64 [B] of each row, and the mean entropy float [B] (nats) of a token's
        distribution, before the temperature, when it was drawn. A kept token never changes. Only with a bound of
        entropy each pass waits for the device."""
        batch, device = len(noise.seeds), noise.seeds.device
        tokens = torch.full((batch, num_tokens), mask_token, dtype=torch.int64, device=device)
        passes = torch.zeros(batch, dtype=torch.int64, device=device)
        unsure = torch.zeros(batch, device=device)
        left = torch.full((batch, 1), num_tokens, device=device)  # unknown tokens of each row, …
        asked = torch.arange(num_tokens, device=device).expand(batch, -1)  # … which are the last ones of [B, U]
        for number, known in enumerate(self.passes(num_tokens)):
            logits = predict(tokens, asked if number else None).float()  # [B, U, K]
            log_probabilities = logits.log_softmax(-1)
            drawn = self._draw(logits, log_probabilities, noise, number, asked, num_tokens)
            score = self._score(log_probabilities, drawn, noise, number, asked, num_tokens)
            first = asked.shape[1] - left  # rows ahead of others predict known tokens again
            place = torch.arange(asked.shape[1], device=device)
            score = score.masked_fill(place < first, float("inf"))
            count = (left - (num_tokens - known)).clamp_min(0)  # minimum to keep
            entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
            if self.entropy_bound is not None:
                fits = (entropy <= self.entropy_bound) & (place >= first)
                score = torch.where(fits, score + SURE, score)
                count = torch.maximum(count, fits.sum(1, keepdim=True).clamp_min(1)).minimum(left)
            order = score.argsort(dim=1, descending=True)  # known, then kept, then the others
            asked, drawn = asked.gather(1, order), drawn.gather(1, order)
            stays = (place >= first) & (place < first + count)
            unsure += (entropy.gather(1, order) * stays).sum(1)
            tokens = tokens.scatter(1, asked, torch.where(stays, drawn, tokens.gather(1, asked)))
            passes += (left > 0)[:, 0]
            left = left - count
            most = num_tokens - known if self.entropy_bound is None else int(left.max())
            if most == 0:
                break
            asked = asked[:, -most:]
        return tokens, passes, unsure / num_tokens

    def _draw(
        self, logits: Tensor, log_probabilities: Tensor, noise: FrameNoise, number: int, asked: Tensor, count: int
    ) -> Tensor:
        """One token int64 [B, U] for each position."""
        if self.temperature == 0:
            return logits.argmax(-1)
        shares = log_probabilities.exp() if self.temperature == 1 else (logits / self.temperature).softmax(-1)
        return sample(shares, noise.uniform(number, count).gather(1, asked))

    def _score(
        self, log_probabilities: Tensor, drawn: Tensor, noise: FrameNoise, number: int, asked: Tensor, count: int
    ) -> Tensor:
        if self.order == "random":
            return noise.uniform(number, count, "order").gather(1, asked)
        return log_probabilities.gather(-1, drawn[..., None])[..., 0]
