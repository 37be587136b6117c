"""MaskGIT sampling of one frame's tokens: all at once, the surest kept, the rest asked again.

Sources: MaskGIT (arXiv 2202.04200) §3.2; Genie (arXiv 2402.15391) §2.1: 25 steps, temperature 2.

Dimension letters: `B` batch, `S` tokens of one frame, `K` codes.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ORDERS = ("confidence", "random")


@dataclass(frozen=True)
class MaskGITSampler:
    """How a frame's tokens are drawn.

    Attributes:
        steps: forward passes for one frame; after pass i of n, ⌊S · cos(π/2 · i/n)⌋ tokens are still unknown. A
            pass after which no fewer would be is left out: `passes` has those that are made.
        temperature: the logits are divided by it before drawing; 0 takes the likeliest token.
        order: which of the drawn tokens stay: those whose own probability is highest ("confidence", read from the
            undivided logits, so that temperature and order are separate choices), or "random" ones.
    """

    steps: int = 25
    temperature: float = 2.0
    order: str = "confidence"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a frame takes at least one step")
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature} must not be negative")
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r}: choose one of {', '.join(ORDERS)}")

    def passes(self, num_tokens: int) -> list[int]:
        """How many of a frame's S tokens are known after each pass: increasing, ending with S."""
        counts = [math.floor(num_tokens * math.cos(math.pi / 2 * i / self.steps)) for i in range(1, self.steps)]
        known = [0, *(num_tokens - count for count in counts), num_tokens]
        return [count for before, count in itertools.pairwise(known) if count > before]

    @torch.no_grad()
    def sample(
        self,
        logits_of: Callable[[Tensor], Tensor],
        batch_size: int,
        num_tokens: int,
        mask_token: int,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """tokens int64 [B, S], from `logits_of(tokens [B, S] with mask tokens) -> logits [B, S, K]`.

        A token once kept never changes. All randomness comes from `generator` (on `device`).
        """
        tokens = torch.full((batch_size, num_tokens), mask_token, dtype=torch.int64, device=device)
        for known in self.passes(num_tokens):
            unknown = tokens == mask_token
            logits = logits_of(tokens).float()
            drawn = self._draw(logits, generator)
            # what is known already ranks first, so the first `known` are it and the surest of the new
            score = self._score(logits, drawn, generator).masked_fill(~unknown, float("inf"))
            keep = torch.zeros_like(unknown).scatter(1, score.topk(known, dim=1).indices, True)
            tokens = torch.where(unknown & keep, drawn, tokens)
        return tokens

    def _draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        # the Gumbel trick: the arg max of logits plus Gumbel noise is a draw from their softmax
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
        noise = -torch.log((-torch.log(uniform.clamp_min(1e-20))).clamp_min(1e-20))
        return (logits / self.temperature + noise).argmax(-1)

    def _score(self, logits: Tensor, drawn: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.order == "random":
            return torch.rand(drawn.shape, generator=generator, device=logits.device)
        return logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
