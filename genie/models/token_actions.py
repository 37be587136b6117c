"""Latent actions from tokens: the alternative to pixels in the paper's ablation of the latent action model's input.

Source: Genie (arXiv 2402.15391) §3.4, table 2: the "token-input" model has the tokenized frames z in the place of x
*everywhere* in the latent action model. So its encoder and its decoder read the tokens of the frozen tokenizer, and its
decoder predicts the next frame's tokens, with a cross-entropy as the dynamics has it. (That the pixels stay out of the
loss is our reading of "replacing x with z"; the paper does not spell the loss out.)

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width, `K` codes, `L` latent width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genie.models.latent_action import LatentActionModel, LatentActionOutput
from genie.models.tokenizer import VideoTokenizer


@dataclass
class TokenActionOutput(LatentActionOutput):
    """As `LatentActionOutput`, but `logits` [B, T-1, S, K] of the `tokens` int64 [B, T, S] of frames 1…T-1."""

    tokens: Tensor
    tokenizer: VideoTokenizer

    @property
    def prediction(self) -> Tensor:
        """Predicted frames 1…T-1 [B, T-1, C, H, W] in [0, 1]: the likeliest tokens, decoded behind the true frame 0.

        The tokenizer's decoder sees predicted tokens in the past, too, each of them made from true ones.
        """
        clip = torch.cat([self.tokens[:, :1], self.logits.argmax(-1)], dim=1)
        return self.tokenizer.decode(clip)[:, 1:]


class TokenActionModel(LatentActionModel):
    """A `LatentActionModel` behind a frozen tokenizer: it takes frames like any other, and needs `use_tokenizer` first.

    Args:
        num_codes: K of the tokenizer.
        image_size, patch_size: of the tokenizer, whose grid of tokens is the one that this model works on.
        options: those of `LatentActionModel`, but for `copy_last`: tokens have no logits to start from.
    """

    needs_tokenizer = True

    def __init__(self, image_size: tuple[int, int], patch_size: int, num_codes: int, **options) -> None:
        self.num_codes = num_codes
        self.frozen: dict[str, VideoTokenizer] = {}  # outside the module tree: not trained, not in the checkpoint
        super().__init__(image_size, patch_size, **options)
        if self.copy_last:
            raise ValueError("copy_last=True goes with input=pixels: tokens have no last frame to add a change to")

    def embedding(self, width: int) -> nn.Module:
        return nn.Embedding(self.num_codes, width)

    def build_head(self, width: int) -> None:
        self.to_tokens = nn.Linear(width, self.num_codes)

    def use_tokenizer(self, tokenizer: VideoTokenizer) -> None:
        """Read frames through `tokenizer` from now on: the one that this model was, or is to be, trained on."""
        self.frozen["tokenizer"] = tokenizer

    def start_from(self, frame: Tensor) -> None:
        """Nothing: tokens are not measured from a typical frame."""

    def head(self, hidden: Tensor, past: Tensor) -> Tensor:
        """Logits fp32 [B, T-1, S, K]."""
        return self.to_tokens(hidden).float()

    @property
    def num_tokens(self) -> int:
        """S, tokens of one frame."""
        return self.patches.num_patches

    def example_forward(self, frames: Tensor) -> None:
        tokens = torch.zeros(*frames.shape[:2], self.num_tokens, dtype=torch.int64)
        self.explain(tokens, True, tokens)

    def read(self, frames: Tensor) -> Tensor:
        """tokens int64 [B, T, S] of frames [B, T, C, H, W] in [0, 1]."""
        assert self.frozen, "use_tokenizer comes first"
        return self.frozen["tokenizer"].encode(frames)

    def forward(self, frames: Tensor, use_actions: bool = True, shown: Tensor | None = None) -> TokenActionOutput:
        tokens = self.read(frames)
        seen = tokens if shown is None or shown is frames else self.read(shown)
        output = self.explain(tokens, use_actions, seen)
        return TokenActionOutput(output.logits, output.actions, output.quantizer_loss, seen, self.frozen["tokenizer"])
