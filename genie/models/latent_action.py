"""Latent action model: infers actions from videos without labels, on pixels or on tokens.

Source: Genie (arXiv 2402.15391) §2.1. The encoder sees frames ≤ t+1 and assigns the transition t → t+1 one of a few
codes; the decoder predicts frame t+1 from the frames ≤ t and that code, which so has to carry what the past does not
determine.

The "token-input" model (§3.4, table 2) has the tokens z of the frozen tokenizer in the place of the frames x
*everywhere*: encoder and decoder read tokens, and the decoder predicts the next frame's tokens with a cross-entropy as
in the dynamics. (That the loss has no pixels is our reading of "replacing x with z"; the paper does not specify it.)

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` patches or tokens of one frame, `D` width,
`A` actions, `L` latent width, `K` codes of the tokenizer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.models.patches import Patches, PixelEmbedding, PixelHead
from genie.models.quantizers import LatentHead, build_quantizer
from genie.models.st_transformer import STTransformer
from genie.models.tokenizer import VideoTokenizer

POOLINGS = ("mean", "surprise")


@dataclass
class LatentActionOutput:
    """`logits` [B, T-1, C, H, W] of frames 1…T-1, `actions` int64 [B, T-1], `quantizer_loss` a scalar; `expected`:
    logits from the past alone, where pooling is by surprise and codes are used, else None."""

    logits: Tensor
    actions: Tensor
    quantizer_loss: Tensor
    expected: Tensor | None = field(default=None, kw_only=True)

    @property
    def prediction(self) -> Tensor:
        """Predicted frames 1…T-1 [B, T-1, C, H, W] in [0, 1]."""
        return self.logits.sigmoid()


def pool(hidden: Tensor, weights: Tensor | None = None) -> Tensor:
    """[..., S, D] → [..., D]: the sum with `weights` [..., S], without any the mean."""
    return hidden.mean(-2) if weights is None else (hidden * weights[..., None]).sum(-2)


class LatentActionModel(nn.Module):
    """Frames to latent actions, and frames with actions to the next frames, for a whole clip in one causal pass.

    Args:
        image_size, patch_size, channels: see `VideoTokenizer`; the paper's patch is 16.
        num_actions: A, codes of the bottleneck.
        latent_dim: L of the vector quantiser.
        width, num_blocks, num_heads, head_dim: of the encoder; `decoder_blocks` where the decoder differs.
        quantizer, levels, commitment, revive_after: see `VideoTokenizer`.
        copy_last: the decoder predicts the change of the last frame's logits instead of the next frame's logits: it
            begins as a copy of the last frame, and its capacity goes to what moves.
        standardize: see `LatentHead`.
        antisymmetric: the encoder sees frames t and t+1 alone, and its latent changes its sign when they are swapped:
            no change is 0, and opposite movements are opposite numbers. For data with reversible actions. The paper's
            encoder (False) sees all frames ≤ t+1; its codes may mean "as before", which only the past completes.
        pooling: how the encoder's outputs of the patches of a transition become one: their "mean", or by "surprise",
            weighted by the squared error in each patch of what the decoder, without a code, expects of the next frame
            (tokens: by their cross-entropy). For things that are small among others that move by themselves: a code
            is for what the past does not tell, and the mean shows the encoder all else. The decoder is then trained
            without codes, too, at every step.
        past_transitions: of an antisymmetric encoder: number of earlier transitions whose (odd) features are added to
            those of t → t+1, by maps that begin at zero: the code can then be the force instead of the movement of an
            object with inertia.
        encoder_positions: `spatial_positions` of the encoder's `STTransformer`, where they are not those of
            `transformer`. "relative": a movement looks the same to it wherever it happens.
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
        pooling: str = "mean",
        encoder_positions: str | None = None,
        transformer: dict | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")
        options: dict[str, Any] = dict(transformer or {}, head_dim=head_dim)
        self.patches = Patches(tuple(image_size), patch_size, channels)
        self.copy_last, self.antisymmetric, self.pooling = copy_last, antisymmetric, pooling
        self.quantizer = build_quantizer(quantizer, num_actions, latent_dim, levels, commitment, revive_after)
        self.encoder_embedding = self.embedding(width)
        theirs: dict[str, Any] = {} if encoder_positions is None else {"spatial_positions": encoder_positions}
        self.encoder = STTransformer(width, num_blocks, num_heads, self.patches.grid, **(options | theirs))
        self.to_latent = LatentHead(width, self.quantizer.width, standardize, bias=not antisymmetric)
        if past_transitions < 0 or past_transitions and not antisymmetric:
            raise ValueError(f"past_transitions={past_transitions} must be 0, or more with antisymmetric=true")
        self.from_past = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(past_transitions))
        for layer in self.from_past:
            layer.starts_at_zero = True  # pyright: ignore[reportArgumentType]
        if standardize:  # undoes scale and shift, whose gradient is noise that AdamW makes a random walk
            self.encoder.norm.requires_grad_(False)
        self.decoder_embedding = self.embedding(width)
        self.action_embedding = nn.Linear(self.quantizer.width, width)
        self.decoder = STTransformer(width, decoder_blocks or num_blocks, num_heads, self.patches.grid, **options)
        self.build_head(width)

    def embedding(self, width: int) -> nn.Module:
        """A new layer from the output of `read` to hidden states [B, T, S, D]."""
        return PixelEmbedding(width, self.patches)

    def build_head(self, width: int) -> None:
        """Adds the last layer, named after what it predicts."""
        self.to_pixels = PixelHead(width, self.patches)

    def use_tokenizer(self, tokenizer: VideoTokenizer) -> None:
        """No effect on pixels; see `TokenActionModel`."""

    @property
    def num_actions(self) -> int:
        """A."""
        return self.quantizer.num_codes

    def start_from(self, frame: Tensor) -> None:
        """Takes `frame` [C, H, W] in [0, 1] (the background) as the typical one: inputs are measured from it, and
        predictions begin close to it unless `copy_last`."""
        for embedding in (self.encoder_embedding, self.decoder_embedding):
            assert isinstance(embedding, PixelEmbedding)
            embedding.start_from(frame)
        if not self.copy_last:
            self.to_pixels.start_from(frame)

    def latents(self, frames: Tensor, weights: Tensor | None = None) -> Tensor:
        """Continuous latent actions [B, T-1, L] of `read` frames [B, T, C, H, W], before the bottleneck. `weights`:
        their `surprise`, where it is known."""
        if weights is None and self.pooling == "surprise":
            weights = self.surprise(frames)
        if not self.antisymmetric:
            return self.to_latent(pool(self.encoder(self.encoder_embedding(frames))[:, 1:], weights))
        return self.to_latent(self.explained(self.movements(frames, weights), len(self.from_past)))

    @property
    def compares_two_frames(self) -> bool:
        """Whether a latent depends on nothing but two frames, and those of `past_transitions` before them."""
        return self.antisymmetric and self.pooling == "mean"

    def movements(self, frames: Tensor, weights: Tensor | None = None) -> Tensor:
        """Change from each of the `read` frames [B, T, C, H, W] to the next, [B, T-1, D], of an antisymmetric model:
        the reverse transition has the negative, with the same `weights` of `pool`."""
        x = self.encoder_embedding(frames)  # [B, T, S, D]
        pairs = torch.stack([x[:, :-1], x[:, 1:]], dim=2)  # [B, T-1, 2, S, D]
        hidden = self.encoder(torch.stack([pairs, pairs.flip(2)]).flatten(0, 2))[:, 1]
        hidden = hidden.unflatten(0, (2, *pairs.shape[:2]))
        forward, backward = pool(hidden, weights)
        return forward - backward

    @torch.no_grad()
    def surprise(
        self, frames: Tensor, expected: Tensor | None = None, relocate: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Each patch's share [B, T-1, S] of the error that the past alone leaves of `read` frames 1…T-1, without a
        gradient; 0 where there is no error in any patch.

        Args:
            expected: the logits of `predict` for these frames without latents, where they are known.
            relocate: moves maps [B, T-1, C, H, W] from where these frames show things to where the encoder sees them.
        """
        if expected is None:
            expected = self.predict(frames[:, :-1], None)
        error = self.errors(expected, frames[:, 1:], relocate)
        return error / error.sum(-1, keepdim=True).clamp_min(torch.finfo(error.dtype).tiny)

    def errors(self, logits: Tensor, target: Tensor, relocate: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """How wrong a prediction of `read` frames [B, T, C, H, W] is in each patch, fp32 [B, T, S]; see `surprise`."""
        error = (logits.float().sigmoid() - target).square()
        return self.patches.cut(error if relocate is None else relocate(error)).sum(-1)

    def explained(self, movement: Tensor, past: int) -> Tensor:
        """Movements [B, T-1, D] plus the contributions of the `past` ones before each, as far as the clip has them."""
        explained = movement
        for ago, layer in enumerate(self.from_past[:past], start=1):
            explained = explained + F.pad(layer(movement), (0, 0, ago, 0))[:, : movement.shape[1]]
        return explained

    def predict(self, past: Tensor, latents: Tensor | None) -> Tensor:
        """Logits of the next frames [B, T-1, C, H, W] from frames 0…T-2 and quantised latents [B, T-1, L].
        `latents=None` predicts from the past alone."""
        x = self.decoder_embedding(past)
        if latents is not None:
            x = x + self.action_embedding(latents)[:, :, None]
        return self.head(self.decoder(x), past)

    def head(self, hidden: Tensor, past: Tensor) -> Tensor:
        """Logits of the next frames from the decoder's hidden states [B, T-1, S, D] and the frames before them."""
        logits = self.to_pixels(hidden)
        return logits + torch.logit(past, eps=1 / 64) if self.copy_last else logits

    def forward(
        self,
        frames: Tensor,
        use_actions: bool = True,
        shown: Tensor | None = None,
        relocate: Callable[[Tensor], Tensor] | None = None,
    ) -> LatentActionOutput:
        """frames [B, T, C, H, W] in [0, 1] → predictions of frames 1…T-1, actions and the quantiser's loss.
        `use_actions=False` trains the decoder without the bottleneck (all actions 0, no quantiser loss). `shown`: other
        frames with the same actions, which the decoder sees instead of `frames`. `relocate`: moves maps of these to
        where `frames` show the same (`surprise`); without it, surprise is that of `frames` themselves."""
        read = self.read(frames)
        seen = read if shown is None or shown is frames else self.read(shown)
        return self.output(self.explain(read, use_actions, seen, relocate), seen)

    def output(self, explained: LatentActionOutput, shown: Tensor) -> LatentActionOutput:
        """What `forward` gives, from `explain` and the `read` frames that the decoder saw."""
        return explained

    def example_forward(self, frames: Tensor) -> None:
        """One pass of this model alone on frames [1, T, C, H, W], to count operations."""
        self(frames)

    def read(self, frames: Tensor) -> Tensor:
        """The layers' input for frames [B, T, C, H, W]: here, the frames."""
        return frames

    def explain(
        self,
        frames: Tensor,
        use_actions: bool,
        shown: Tensor,
        relocate: Callable[[Tensor], Tensor] | None = None,
    ) -> LatentActionOutput:
        """`forward` on the output of `read`."""
        past = shown[:, :-1]
        if not use_actions:
            actions = torch.zeros(past.shape[:2], dtype=torch.int64, device=past.device)
            logits = self.predict(past, None)
            return LatentActionOutput(logits, actions, logits.new_zeros(()))
        expected = weights = None
        if self.pooling == "surprise":
            expected = self.predict(past, None)
            if shown is frames or relocate is not None:
                weights = self.surprise(shown, expected, relocate)
        quantized = self.quantizer(self.latents(frames, weights))
        logits = self.predict(past, quantized.latents)
        return LatentActionOutput(logits, quantized.codes, quantized.loss, expected=expected)

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → actions int64 [B, T-1]; action t is the transition t → t+1."""
        return self.quantizer(self.latents(self.read(frames))).codes

    @torch.no_grad()
    def encode_by_past(self, frames: Tensor) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → actions int64 [P + 1, B, T-1] of a model that `compares_two_frames`, with
        P past transitions: row p uses at most p of them, as in a clip that begins p transitions earlier."""
        movement = self.movements(self.read(frames))
        explained = [self.explained(movement, past) for past in range(len(self.from_past) + 1)]
        return torch.stack([self.quantizer(self.to_latent(one)).codes for one in explained])


@dataclass
class TokenActionOutput(LatentActionOutput):
    """As `LatentActionOutput`, but logits [B, T-1, S, K] of the `tokens` int64 [B, T, S] of frames 1…T-1."""

    tokens: Tensor
    tokenizer: VideoTokenizer

    @property
    def prediction(self) -> Tensor:
        """Predicted frames 1…T-1 [B, T-1, C, H, W] in [0, 1]: the most likely tokens, decoded after the true frame 0.
        The decoder's past consists of predicted tokens, too, each predicted from true ones."""
        clip = torch.cat([self.tokens[:, :1], self.logits.argmax(-1)], dim=1)
        return self.tokenizer.decode(clip)[:, 1:]


class TokenActionModel(LatentActionModel):
    """A `LatentActionModel` on the tokens of a frozen tokenizer: it takes frames, and needs `use_tokenizer` first.

    Args:
        num_codes: K of the tokenizer.
        image_size, patch_size: of the tokenizer.
        options: those of `LatentActionModel` but `copy_last`, since tokens have no logits to start from.
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
        """Reads frames through `tokenizer` from now on: the one that this model is trained on."""
        self.frozen["tokenizer"] = tokenizer

    def start_from(self, frame: Tensor) -> None:
        """No effect: tokens are not measured from a typical frame."""

    def head(self, hidden: Tensor, past: Tensor) -> Tensor:
        """Logits fp32 [B, T-1, S, K]."""
        return self.to_tokens(hidden).float()

    def errors(self, logits: Tensor, target: Tensor, relocate: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Cross-entropy in nats, fp32 [B, T, S], of tokens int64 [B, T, S]; they cannot be relocated."""
        if relocate is not None:
            raise ValueError("tokens have no map of errors that moves by pixels")
        return F.cross_entropy(logits.movedim(-1, 1), target, reduction="none")

    @property
    def num_tokens(self) -> int:
        """S."""
        return self.patches.num_patches

    def example_forward(self, frames: Tensor) -> None:
        tokens = torch.zeros(*frames.shape[:2], self.num_tokens, dtype=torch.int64)
        self.explain(tokens, True, tokens)

    def read(self, frames: Tensor) -> Tensor:
        """tokens int64 [B, T, S] of frames [B, T, C, H, W] in [0, 1]."""
        assert self.frozen, "use_tokenizer comes first"
        return self.frozen["tokenizer"].encode(frames)

    def output(self, explained: LatentActionOutput, shown: Tensor) -> TokenActionOutput:
        return TokenActionOutput(**vars(explained), tokens=shown, tokenizer=self.frozen["tokenizer"])
