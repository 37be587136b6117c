"""Latent action model, on pixels or on tokens.

The latent action model: finds the actions behind the frames of a video, without labels.

Source: Genie (arXiv 2402.15391) §2.1. The encoder sees frames ≤ t+1 and names the transition t → t+1 by one of a
few codes; the decoder has to predict frame t+1 from the frames ≤ t and that code, so the code must carry what the
past does not tell.

Latent actions from tokens: the alternative to pixels in the paper's ablation of the latent action model's input.

Source: Genie (arXiv 2402.15391) §3.4, table 2: the "token-input" model has the tokenized frames z in the place of x
*everywhere* in the latent action model. So its encoder and its decoder read the tokens of the frozen tokenizer, and its
decoder predicts the next frame's tokens, with a cross-entropy as the dynamics has it. (That the pixels stay out of the
loss is our reading of "replacing x with z"; the paper does not spell the loss out.)

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` patches, `D` width, `A` actions, `L` latent.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `D` width, `K` codes, `L` latent width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.models.patches import Patches, PixelEmbedding, PixelHead
from genie.models.quantizers import LatentHead, build_quantizer
from genie.models.st_transformer import STTransformer
from genie.models.tokenizer import VideoTokenizer


@dataclass
class LatentActionOutput:
    """`logits` [B, T-1, C, H, W] of frames 1…T-1, `actions` int64 [B, T-1], `quantizer_loss` a scalar."""

    logits: Tensor
    actions: Tensor
    quantizer_loss: Tensor

    @property
    def prediction(self) -> Tensor:
        """Predicted frames 1…T-1 [B, T-1, C, H, W] in [0, 1]."""
        return self.logits.sigmoid()


class LatentActionModel(nn.Module):
    """Frames to latent actions, and frames with actions to the next frames, all of a clip in one causal pass.

    Args:
        image_size, patch_size, channels: see `VideoTokenizer`; the paper's patch is 16.
        num_actions: A, codes of the bottleneck.
        latent_dim: L of the vector quantiser.
        width, num_blocks, num_heads, head_dim: of the encoder; `decoder_blocks` where the decoder differs.
        quantizer, levels, commitment, revive_after: see `VideoTokenizer`.
        copy_last: the decoder predicts the change of the last frame's logits instead of the next frame's logits, so
            that it starts out as a copy of the last frame and its capacity goes to what moves.
        standardize: see `LatentHead`.
        antisymmetric: the encoder sees frames t and t+1 alone, and its latent turns its sign when they are swapped, so
            that no change is 0 and opposite movements are opposite numbers. For data whose actions can be undone; the
            paper's encoder (False) sees all frames ≤ t+1. It may name a movement by its size or as "as before" or
            "not as before", of which the past then tells the rest.
        past_transitions: of an antisymmetric encoder: so many earlier transitions whose (odd) features are added to
            those of t → t+1, by maps that begin at zero. What moves by itself, as a paddle that still rolls, is then no
            action: the code can be the force instead of the movement.
        transformer: further options of both `STTransformer`s.

    `needs_tokenizer`: whether frames are read through a tokenizer (`TokenActionModel`).
    """

    needs_tokenizer = False

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: int,
        num_actions: int,
        width: int,
        num_blocks: int,
        num_heads: int,
        latent_dim: int = 32,
        decoder_blocks: int | None = None,
        head_dim: int | None = None,
        channels: int = 3,
        quantizer: str = "vq",
        levels: list[int] | None = None,
        commitment: float = 0.25,
        revive_after: int = 50,
        copy_last: bool = False,
        standardize: bool = True,
        antisymmetric: bool = False,
        past_transitions: int = 0,
        transformer: dict | None = None,
    ) -> None:
        super().__init__()
        options = dict(transformer or {}, head_dim=head_dim)
        self.patches = Patches(tuple(image_size), patch_size, channels)
        self.copy_last, self.antisymmetric = copy_last, antisymmetric
        self.quantizer = build_quantizer(quantizer, num_actions, latent_dim, levels, commitment, revive_after)
        self.encoder_embedding = self.embedding(width)
        self.encoder = STTransformer(width, num_blocks, num_heads, self.patches.grid, **options)
        self.to_latent = LatentHead(width, self.quantizer.width, standardize, bias=not antisymmetric)
        if past_transitions < 0 or past_transitions and not antisymmetric:
            raise ValueError(f"past_transitions={past_transitions} must be 0, or more with antisymmetric=true")
        self.from_past = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(past_transitions))
        for layer in self.from_past:
            layer.starts_at_zero = True
        if standardize:  # which undoes scale and shift: their gradient is noise, which AdamW makes a random walk
            self.encoder.norm.requires_grad_(False)
        self.decoder_embedding = self.embedding(width)
        self.action_embedding = nn.Linear(self.quantizer.width, width)
        self.decoder = STTransformer(width, decoder_blocks or num_blocks, num_heads, self.patches.grid, **options)
        self.build_head(width)

    def embedding(self, width: int) -> nn.Module:
        """A new layer from what `read` gives to hidden states [B, T, S, D]."""
        return PixelEmbedding(width, self.patches)

    def build_head(self, width: int) -> None:
        """The last layer: its name says what it predicts."""
        self.to_pixels = PixelHead(width, self.patches)

    def use_tokenizer(self, tokenizer: nn.Module) -> None:
        """Nothing: pixels are read as they are. See `TokenActionModel`."""

    @property
    def num_actions(self) -> int:
        """A, number of latent actions."""
        return self.quantizer.num_codes

    def start_from(self, frame: Tensor) -> None:
        """Take `frame` [C, H, W] in [0, 1], say the background, as the typical one: inputs are measured from it and
        predictions begin close to it, unless they begin as copies of the last frame."""
        self.encoder_embedding.start_from(frame)
        self.decoder_embedding.start_from(frame)
        if not self.copy_last:
            self.to_pixels.start_from(frame)

    def latents(self, frames: Tensor) -> Tensor:
        """Continuous latent actions [B, T-1, L] of `read` frames [B, T, C, H, W], before the bottleneck."""
        if not self.antisymmetric:
            return self.to_latent(self.encoder(self.encoder_embedding(frames))[:, 1:].mean(dim=2))
        return self.to_latent(self.explained(self.movements(frames), len(self.from_past)))

    def movements(self, frames: Tensor) -> Tensor:
        """What changes from each of the `read` frames [B, T, C, H, W] to the next [B, T-1, D], of an antisymmetric
        model: the other way round it is the negative."""
        x = self.encoder_embedding(frames)  # [B, T, S, D]
        pairs = torch.stack([x[:, :-1], x[:, 1:]], dim=2)  # [B, T-1, 2, S, D]
        hidden = self.encoder(torch.stack([pairs, pairs.flip(2)]).flatten(0, 2))[:, 1].mean(dim=1)
        forward, backward = hidden.view(2, *pairs.shape[:2], -1)
        return forward - backward

    def explained(self, movement: Tensor, past: int) -> Tensor:
        """Movements [B, T-1, D] and what the `past` ones before each, as far as the clip has them, add to it."""
        explained = movement
        for ago, layer in enumerate(self.from_past[:past], start=1):
            explained = explained + F.pad(layer(movement), (0, 0, ago, 0))[:, : movement.shape[1]]
        return explained

    def predict(self, past: Tensor, latents: Tensor | None) -> Tensor:
        """Logits of the next frames [B, T-1, C, H, W] from frames 0…T-2 and quantised latents [B, T-1, L].

        `latents=None` predicts without an action: what the past alone tells.
        """
        x = self.decoder_embedding(past)
        if latents is not None:
            x = x + self.action_embedding(latents)[:, :, None]
        return self.head(self.decoder(x), past)

    def head(self, hidden: Tensor, past: Tensor) -> Tensor:
        """Logits of the next frames from the decoder's hidden states [B, T-1, S, D] and the frames before them."""
        logits = self.to_pixels(hidden)
        return logits + torch.logit(past, eps=1 / 64) if self.copy_last else logits

    def forward(self, frames: Tensor, use_actions: bool = True, shown: Tensor | None = None) -> LatentActionOutput:
        """frames [B, T, C, H, W] in [0, 1] → predictions of frames 1…T-1, actions and the quantiser's loss.

        `use_actions=False` trains the decoder without the bottleneck (all actions 0, no quantiser loss). `shown`: other
        frames of that shape, with the same actions, from which the decoder predicts while the encoder sees `frames`.
        """
        return self.explain(self.read(frames), use_actions, frames if shown is None else shown)

    def example_forward(self, frames: Tensor) -> None:
        """One forward pass on frames [1, T, C, H, W], for counting: of this model alone."""
        self(frames)

    def read(self, frames: Tensor) -> Tensor:
        """What the layers are given for frames [B, T, C, H, W]: here, the frames."""
        return frames

    def explain(self, frames: Tensor, use_actions: bool, shown: Tensor) -> LatentActionOutput:
        """`forward` on what `read` gives."""
        past = shown[:, :-1]
        if not use_actions:
            actions = torch.zeros(past.shape[:2], dtype=torch.int64, device=past.device)
            logits = self.predict(past, None)
            return LatentActionOutput(logits, actions, logits.new_zeros(()))
        quantized = self.quantizer(self.latents(frames))
        logits = self.predict(past, quantized.latents)
        return LatentActionOutput(logits, quantized.codes, quantized.loss)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → actions int64 [B, T-1]; action t is the transition t → t+1."""
        return self.quantizer(self.latents(self.read(frames))).codes

    @torch.no_grad()
    def encode_by_past(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → actions int64 [P + 1, B, T-1] of an antisymmetric model that looks back at
        P transitions: number p as in a clip that begins p transitions before it, where there are so many."""
        movement = self.movements(self.read(frames))
        explained = [self.explained(movement, past) for past in range(len(self.from_past) + 1)]
        return torch.stack([self.quantizer(self.to_latent(one)).codes for one in explained])


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
