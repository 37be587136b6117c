"""Dynamics model: a MaskGIT that predicts a frame's tokens from past tokens and actions.

Sources: Genie (arXiv 2402.15391) §2.1; MaskGIT (arXiv 2202.04200).

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width, `K` codes, `A` actions, `M` masked tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.models.kv_cache import CleanContext, Span
from genie.models.st_transformer import STTransformer, Thin
from genie.models.vocabulary import Digits, build_embedding, build_head, expected_distance, score

CONDITIONINGS = ("additive", "prepend", "film")


class DynamicsModel(nn.Module):
    """Logits of the tokens of a clip, some of them masked, under the actions between its frames.

    Action t (the transition t → t+1) acts at frame t+1; frame 0 has none.

    Args:
        num_codes: K, the tokenizer's vocabulary; the mask is token K.
        grid: rows and columns of a frame's tokens.
        num_actions: A.
        width, num_blocks, num_heads, head_dim: of the ST-Transformer.
        conditioning: "additive" (the paper: the action's embedding is added to all tokens of its frame),
            "prepend" (one more token per frame) or "film" (it scales and shifts every norm of its frame).
        transformer: further options of the `STTransformer`.
        levels: of the digits of the tokenizer's codes (`FiniteScalarQuantizer`); None for codes without digits.
        token_embedding: of whole "codes", or for codes with digits the sum over "digits", or linear in "coordinates".
        token_head: predicts whole "codes", each of the "digits", "both" in a sum, or digits in a "chain", each given
            those before it: `genie.models.vocabulary`.
    """

    code_places: Tensor | None

    def __init__(
        self,
        num_codes: int,
        grid: tuple[int, int],
        num_actions: int,
        width: int,
        num_blocks: int,
        num_heads: int,
        head_dim: int | None = None,
        conditioning: str = "additive",
        transformer: dict | None = None,
        levels: Sequence[int] | None = None,
        token_embedding: str = "codes",
        token_head: str = "codes",
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning={conditioning!r}: choose one of {', '.join(CONDITIONINGS)}")
        self.num_codes, self.num_actions, self.conditioning = num_codes, num_actions, conditioning
        self.num_tokens = grid[0] * grid[1]
        self.token_embedding = build_embedding(token_embedding, num_codes, levels, width)
        self.action_embedding = nn.Embedding(num_actions, width)
        self.transformer = STTransformer(
            width, num_blocks, num_heads, grid, extra_tokens=int(conditioning == "prepend"), head_dim=head_dim,
            modulated=conditioning == "film", **(transformer or {}),
        )  # fmt: skip
        self.to_logits = build_head(token_head, num_codes, levels, width)
        places = None if levels is None else Digits(levels).coordinates(torch.arange(num_codes))
        self.register_buffer("code_places", places, persistent=False)  # [K, L], None: codes without digits

    @property
    def mask_token(self) -> int:
        """The token of unknown positions."""
        return self.num_codes

    def hidden(self, tokens: Tensor, actions: Tensor, thin: Thin | None = None) -> Tensor:
        """tokens int64 [B, T, S] (with mask tokens), actions int64 [B, T-1] → [B, T, S, D]; tokens of some places alone
        with `thin`."""
        condition = F.pad(self.action_embedding(actions), (0, 0, 1, 0))  # [B, T, D]: action t at frame t+1
        return self._run(tokens, condition, thin=thin)

    def hidden_after(self, tokens: Tensor, actions: Tensor, context: Tensor, thin: Thin | None = None) -> Tensor:
        """Hidden states [B, T-1, S, D] of frames 1 … T-1 of `tokens` int64 [B, T, S] (with mask tokens), each of which
        sees itself and the earlier frames of `context` int64 [B, T, S]. This is `extend` by one frame, for all frames
        at once: the clip runs twice, side by side in time (block teacher forcing, arXiv 2502.01591)."""
        condition = F.pad(self.action_embedding(actions), (0, 0, 1, 0))  # [B, T, D]
        span = CleanContext(tokens.shape[1], tokens.device)
        both = torch.cat([context[:, :-1], tokens[:, 1:]], dim=1)
        condition = torch.cat([condition[:, :-1], condition[:, 1:]], dim=1)
        return self._run(both, condition, span, thin)[:, span.num_clean :]

    def extend(self, tokens: Tensor, incoming: Tensor, span: Span) -> Tensor:
        """`hidden` of new frames after those of a cache: tokens int64 [R, t, S] → [R, t, S, D]. `incoming` int64 [R, t]
        are the actions that lead to these frames; that of a window's first frame is ignored."""
        known = (span.slots > 0)[..., None]  # [R or 1, t, 1]
        return self._run(tokens, self.action_embedding(incoming) * known, span)

    def _run(
        self, tokens: Tensor, condition: Tensor, span: Span | CleanContext | None = None, thin: Thin | None = None
    ) -> Tensor:
        x = self.token_embedding(tokens)
        if self.conditioning == "film":
            return self.transformer(x, condition, span, thin)
        if self.conditioning == "prepend":
            return self.transformer(torch.cat([condition[:, :, None], x], dim=2), span=span, thin=thin)[:, :, 1:]
        return self.transformer(x + condition[:, :, None], span=span, thin=thin)

    def forward(
        self, tokens: Tensor, actions: Tensor, mask: Tensor, context: Tensor | None = None, thin: Thin | None = None
    ) -> Tensor:
        """Logits fp32 [M, K] at the positions of `mask` (bool [B, T, S]), which are hidden from the model.

        tokens int64 [B, T, S] in [0, K), actions int64 [B, T-1] in [0, A). Frame t sees frames ≤ t and
        actions < t; with a `context` int64 [B, T, S] itself and the frames < t of that (`hidden_after`), and then
        nothing of frame 0 is masked. With `thin`, all of these hold some places of a frame alone.
        """
        return self.logits(self._hidden_at(tokens, actions, mask, context, thin))

    def score(
        self,
        tokens: Tensor,
        actions: Tensor,
        mask: Tensor,
        target: Tensor,
        context: Tensor | None = None,
        thin: Thin | None = None,
        distance_weight: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, fp32 [M], of `target` int64 [B, T, S] at the positions of `mask`, and whether the
        target is the most likely code, bool [M]. The other arguments are those of `forward`.

        distance_weight: of the `expected_distance` of the code from the target, which is added (token distance
            cross-entropy, arXiv 2504.02515); for codes with digits.
        """
        hidden, target = self._hidden_at(tokens, actions, mask, context, thin), target[mask]
        if not distance_weight:
            return self.to_logits.score(hidden, target)
        assert self.code_places is not None, "codes without digits have no distances"
        logits = self.logits(hidden)
        nats, right = score(logits, target)
        return nats + distance_weight * expected_distance(logits.softmax(-1), target, self.code_places), right

    def _hidden_at(
        self, tokens: Tensor, actions: Tensor, mask: Tensor, context: Tensor | None, thin: Thin | None
    ) -> Tensor:
        inputs = tokens.masked_fill(mask, self.mask_token)
        if context is None:
            return self.hidden(inputs, actions, thin)[mask]
        return self.hidden_after(inputs, actions, context, thin)[mask[:, 1:]]

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 [..., K] of hidden states [..., D]."""
        return self.to_logits(hidden).float()
