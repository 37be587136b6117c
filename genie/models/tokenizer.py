"""Video tokenizer: a VQ-VAE of ST-Transformers (ST-ViViT) or other networks (`ARCHITECTURES`).

Source: Genie (arXiv 2402.15391) §2.1. Causal in time: token t sees frames ≤ t, decoded frame t sees tokens ≤ t.

Dimension letters: `B` batch, `T` frames, `C H W` channels and pixels, `S` tokens of one frame, `D` width, `K` codes,
`L` latent width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genie.models.baselines import build_backbone
from genie.models.kv_cache import Span
from genie.models.patches import Patches, PixelEmbedding, PixelHead
from genie.models.quantizers import LatentHead, build_quantizer
from genie.models.st_transformer import Backbone


@dataclass
class TokenizerOutput:
    """`logits` [B, T, C, H, W] (before the sigmoid), `tokens` int64 [B, T, S], `quantizer_loss` a scalar, `latents`
    [B, T, S, L] in the quantiser's bounds before rounding."""

    logits: Tensor
    tokens: Tensor
    quantizer_loss: Tensor
    latents: Tensor

    @property
    def reconstruction(self) -> Tensor:
        """Frames [B, T, C, H, W] in [0, 1]."""
        return self.logits.sigmoid()


class VideoTokenizer(nn.Module):
    """Frames to discrete tokens and back.

    Args:
        image_size: H and W in pixels; sizes that are no multiple of the patch are padded and cropped.
        patch_size: side of a patch in pixels; a frame has ceil(H / p) · ceil(W / p) tokens.
        width, num_blocks, num_heads, head_dim: of the encoder.
        decoder_width, decoder_blocks, decoder_heads: of the decoder, the encoder's where None.
        quantizer: "vq" (`num_codes` of width `latent_dim`) or "fsq" (`levels`, whose product is `num_codes`).
        commitment, revive_after: of the vector quantiser.
        standardize: see `LatentHead`.
        architecture: of encoder and decoder: "st_vivit" (the paper's, where None), its baselines "vit" (each frame
            alone), "c_vivit" (full attention in space and time) and "conv" (convolutions, each frame alone), or
            "patch_mlp" (each patch alone).
        encoder, decoder: architecture of one of them, where not None; ValueError for an `architecture` beside both.
        transformer: further options of both backbones (positions, dropout, checkpointing, …).
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: int,
        width: int,
        num_blocks: int,
        num_heads: int,
        num_codes: int,
        latent_dim: int = 32,
        decoder_width: int | None = None,
        decoder_blocks: int | None = None,
        decoder_heads: int | None = None,
        head_dim: int | None = None,
        channels: int = 3,
        quantizer: str = "vq",
        levels: list[int] | None = None,
        commitment: float = 0.25,
        revive_after: int = 50,
        standardize: bool = False,
        architecture: str | None = None,
        encoder: str | None = None,
        decoder: str | None = None,
        transformer: dict | None = None,
    ) -> None:
        super().__init__()
        if architecture is not None and encoder is not None and decoder is not None:
            raise ValueError(
                f"architecture={architecture!r} says nothing beside encoder={encoder!r} and decoder={decoder!r}: leave "
                "it out, or give one of them as null"
            )
        options = dict(transformer or {}, head_dim=head_dim)
        decoder_width = decoder_width or width
        self.patches = Patches(tuple(image_size), patch_size, channels)
        self.quantizer = build_quantizer(quantizer, num_codes, latent_dim, levels, commitment, revive_after)
        self.patch_embedding = PixelEmbedding(width, self.patches)

        def backbone(option: str, kind: str | None, *sizes: int) -> Backbone:
            if kind is None:
                option, kind = "architecture", "st_vivit" if architecture is None else architecture
            return build_backbone(kind, *sizes, self.patches.grid, option=option, **options)

        self.encoder = backbone("encoder", encoder, width, num_blocks, num_heads)
        self.to_latent = LatentHead(width, self.quantizer.width, standardize)
        if standardize:  # undoes scale and shift, whose gradient is noise that AdamW makes a random walk
            self.encoder.norm.requires_grad_(False)
        self.from_latent = nn.Linear(self.quantizer.width, decoder_width)
        sizes = decoder_width, decoder_blocks or num_blocks, decoder_heads or num_heads
        self.decoder = backbone("decoder", decoder, *sizes)
        self.to_pixels = PixelHead(decoder_width, self.patches)

    @property
    def num_tokens(self) -> int:
        """S."""
        return self.patches.num_patches

    @property
    def num_codes(self) -> int:
        """K."""
        return self.quantizer.num_codes

    def start_from(self, frame: Tensor) -> None:
        """Takes `frame` [C, H, W] in [0, 1] (the background) as the typical one: inputs are measured from it and
        reconstructions begin close to it."""
        self.patch_embedding.start_from(frame)
        self.to_pixels.start_from(frame)

    def _latents(self, frames: Tensor, span: Span | None = None) -> Tensor:
        return self.to_latent(self.encoder(self.patch_embedding(frames), span=span))

    def _logits(self, latents: Tensor, span: Span | None = None) -> Tensor:
        return self.to_pixels(self.decoder(self.from_latent(latents), span=span))

    def forward(self, frames: Tensor) -> TokenizerOutput:
        """frames [B, T, C, H, W] in [0, 1] → reconstruction, tokens and the quantiser's loss."""
        quantized = self.quantizer(self._latents(frames))
        return TokenizerOutput(self._logits(quantized.latents), quantized.codes, quantized.loss, quantized.continuous)

    @torch.no_grad()
    def encode(self, frames: Tensor, span: Span | None = None) -> Tensor:
        """frames [B, T, C, H, W] in [0, 1] → tokens int64 [B, T, S]; with a `span`, of new frames of a cache."""
        return self.quantizer(self._latents(frames, span)).codes

    @torch.no_grad()
    def decode(self, tokens: Tensor, span: Span | None = None) -> Tensor:
        """tokens int64 [B, T, S] in [0, K) → frames [B, T, C, H, W] in [0, 1]; `span` as in `encode`."""
        return self._logits(self.quantizer.lookup(tokens), span).sigmoid()
