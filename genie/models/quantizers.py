"""Discrete bottlenecks: vector quantisation with a cosine codebook, and finite scalar quantisation.

Sources: VQ-VAE (arXiv 1711.00937); cosine codebook of small width, ViT-VQGAN (arXiv 2110.04627) §3.2; revival of
idle codes, Jukebox (arXiv 2005.00341) §3.1; FSQ (arXiv 2309.15505).

On several ranks, batch statistics and codebook updates concern the batches of all of them; under gradient accumulation
each batch of a step counts by itself.

Dimension letters: `K` codes, `L` latent width, `D` width, `M` latents of a batch, all leading axes together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genie.common.device import full_precision
from genie.common.ranks import from_first, gather_samples, sum_over_ranks, world_size
from genie.models.vocabulary import Digits


class GlobalBatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d` without scale and shift, over all ranks, which hold equally many values. In one process it is
    `nn.BatchNorm1d` to the last bit; names in checkpoints are the same. (torch's own `SyncBatchNorm` runs on GPUs
    alone.)"""

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, values: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """values [M, D] of each rank → [M, D]."""
        if not self.training or world_size() == 1:
            return super().forward(values)
        count = len(values) * world_size()
        mean = sum_over_ranks(values.sum(0)) / count
        centered = values - mean
        variance = sum_over_ranks(centered.square().sum(0)) / count
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return centered * torch.rsqrt(variance + self.eps)


@dataclass
class Quantized:
    """Output of a quantiser: `latents` [..., L] (straight-through), `codes` int64 [...], `loss` a scalar, and
    `continuous` [..., L], the bounded latents before rounding: on the unit sphere, or half a level around [-1, 1]."""

    latents: Tensor
    codes: Tensor
    loss: Tensor
    continuous: Tensor


def straight_through(continuous: Tensor, discrete: Tensor) -> Tensor:
    """Exactly the value of `discrete`, with the gradient of `continuous`."""
    return discrete.detach() + (continuous - continuous.detach())


class VectorQuantizer(nn.Module):
    """Nearest code by cosine; latents and codes are normalised to the unit sphere.

    The codebook starts as latents of the first training batch, and a code that no latent chose for `revive_after`
    training batches becomes a latent of the current one: codebooks collapse when random codes lie far from the data.

    Args:
        num_codes: K.
        width: L.
        commitment: weight of pulling latents to their code (β of the paper).
        revive_after: idle training batches after which a code is replaced; 0 for never.
    """

    initialized: Tensor
    idle_steps: Tensor

    def __init__(self, num_codes: int, width: int = 32, commitment: float = 0.25, revive_after: int = 50) -> None:
        super().__init__()
        if num_codes < 2:
            raise ValueError(f"num_codes={num_codes}: a codebook needs at least 2 codes")
        self.num_codes, self.width = num_codes, width
        self.commitment, self.revive_after = commitment, revive_after
        self.codebook = nn.Parameter(torch.empty(num_codes, width))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))
        self.register_buffer("idle_steps", torch.zeros(num_codes, dtype=torch.int64))
        nn.init.normal_(self.codebook)

    def lookup(self, codes: Tensor) -> Tensor:
        """codes [...] → latents [..., L] on the unit sphere."""
        return F.normalize(self.codebook, dim=-1)[codes]

    def forward(self, latents: Tensor) -> Quantized:
        # fp32: near ties decide which code learns
        with full_precision(latents):
            latents = F.normalize(latents.float(), dim=-1, eps=1e-12)
            flat = latents.reshape(-1, self.width)  # [M, L]
            if self.training and not self.initialized:
                self._take_codes(torch.ones(self.num_codes, dtype=torch.bool, device=flat.device), latents)
                self.initialized.fill_(True)
            codes = (flat.detach() @ F.normalize(self.codebook.detach(), dim=-1).T).argmax(dim=-1)
            if self.training and self.revive_after:
                self._revive(codes, latents)
            codes = codes.view(latents.shape[:-1])
            chosen = self.lookup(codes)
            loss = F.mse_loss(chosen, latents.detach(), reduction="none").sum(-1).mean()
            loss = loss + self.commitment * F.mse_loss(latents, chosen.detach(), reduction="none").sum(-1).mean()
            return Quantized(straight_through(latents, chosen), codes, loss, latents)

    @torch.no_grad()
    def _take_codes(self, which: Tensor, latents: Tensor) -> None:
        """Replaces the codes marked in `which` [K] by random ones of the latents [B, ..., L] of all ranks, with a
        little noise to separate duplicates."""
        flat = gather_samples(latents).reshape(-1, self.width)
        picks = torch.randint(len(flat), (self.num_codes,), device=flat.device)
        fresh = F.normalize(flat[picks] + 0.01 * torch.randn_like(flat[picks]), dim=-1)
        self.codebook.copy_(torch.where(which[:, None], from_first(fresh).to(self.codebook.dtype), self.codebook))

    @torch.no_grad()
    def _revive(self, codes: Tensor, latents: Tensor) -> None:
        used = sum_over_ranks(torch.bincount(codes, minlength=self.num_codes)) > 0
        self.idle_steps.add_(1).masked_fill_(used, 0)
        dead = self.idle_steps >= self.revive_after
        if dead.any():
            self._take_codes(dead, latents)
            self.idle_steps.masked_fill_(dead, 0)


class LatentHead(nn.Module):
    """Hidden states to the latents that are quantised, with `standardize` of zero mean and unit variance over the
    batch.

    Otherwise the common part of all latents outweighs their small differences, and a quantiser puts all of them on one
    code, from which no gradient leads away. The mean is subtracted before the projection: after it, the weights would
    drift along the mean, which has no gradient, faster than the running estimates used in evaluation follow.
    """

    def __init__(self, width: int, latent_dim: int, standardize: bool, bias: bool = True) -> None:
        super().__init__()
        self.center = GlobalBatchNorm(width) if standardize else None
        self.projection = nn.Linear(width, latent_dim, bias=bias and not standardize)
        self.scale = GlobalBatchNorm(latent_dim) if standardize else None

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden [..., D] → latents fp32 [..., L]."""
        if self.center is None or self.scale is None:
            return self.projection(hidden).float()
        with full_precision(hidden):
            flat = self.center(hidden.float().reshape(-1, hidden.shape[-1]))
            return self.scale(self.projection(flat)).view(*hidden.shape[:-1], -1)


class FiniteScalarQuantizer(nn.Module):
    """Each of L numbers is bounded and rounded to a few levels; the code is their mixed-radix number. No codebook and
    no auxiliary loss. K is the product of `levels`, L their count; latents are in [-1, 1]."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        levels = [int(level) for level in levels]
        if not levels or min(levels) < 2:
            raise ValueError(f"levels={levels}: every level count must be at least 2")
        self.digits = Digits(levels)
        self.num_codes, self.width = self.digits.num_codes, len(levels)

    def lookup(self, codes: Tensor) -> Tensor:
        """codes [...] → latents [..., L] in [-1, 1]."""
        return self.digits.coordinates(codes)

    def forward(self, latents: Tensor) -> Quantized:
        levels = self.digits.sizes
        with full_precision(latents):
            # to (0, 1), with heavier tails (and gradients) than a sigmoid's, then to (-0.5, levels - 0.5): every level
            # has an equal share of the range
            latents = latents.float()
            position = (0.5 + 0.5 * latents * torch.rsqrt(1 + latents.square())) * levels - 0.5
            digits = torch.minimum(position.detach().round().clamp_min(0).long(), levels - 1)
            scale = 2.0 / (levels - 1)
            discrete = digits * scale - 1.0
            continuous = position * scale - 1.0
            codes, loss = (digits * self.digits.bases).sum(-1), latents.new_zeros((), dtype=torch.float32)
            return Quantized(straight_through(continuous, discrete), codes, loss, continuous)


def build_quantizer(
    quantizer: str,
    num_codes: int,
    latent_dim: int,
    levels: Sequence[int] | None = None,
    commitment: float = 0.25,
    revive_after: int = 50,
) -> VectorQuantizer | FiniteScalarQuantizer:
    """The quantiser by name, which ignores options of the other one: "vq" takes `num_codes` of width `latent_dim`,
    `commitment` and `revive_after`; "fsq" takes `levels`, whose product is `num_codes`."""
    if quantizer == "vq":
        return VectorQuantizer(num_codes, latent_dim, commitment, revive_after)
    if quantizer == "fsq":
        if not levels or math.prod(levels) != num_codes:
            raise ValueError(f"quantizer=fsq: the product of levels={levels} must be num_codes={num_codes}")
        return FiniteScalarQuantizer(levels)
    raise ValueError(f"quantizer={quantizer!r}: choose vq or fsq")
