"""Masks of the dynamics model and corruption of its context, drawn per sample from its seed alone.

So they are the same in a resumed run and with another number of workers or processes.

Dimension letters: `B` batch, `T` frames, `S` tokens of one frame, `K` codes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genie.common.random import Stream, fold_in
from genie.models.st_transformer import Thin


@dataclass
class Masked:
    """`inputs` int64 [B, T, S] (partly corrupted) and `mask` bool [B, T, S] (positions to predict); `context` int64
    [B, T, S], the frames that are seen before each one, where these are not the inputs."""

    inputs: Tensor
    mask: Tensor
    context: Tensor | None = None


def mask_tokens(
    tokens: Tensor,
    seeds: Tensor,
    num_codes: int,
    mask_rate: tuple[float, float] = (0.5, 1.0),
    clean_prefix: float = 0.0,
    corruption: float = 0.0,
) -> Masked:
    """Bernoulli masks at a rate drawn per sample, with frame 0 never masked (Genie §2.1, MaskGIT).

    Args:
        tokens: int64 [B, T, S].
        seeds: int64 [B], the samples' seeds.
        mask_rate: bounds of the uniform rate.
        clean_prefix: share of samples in which only frames from a random one on are masked: the first of them sees a
            complete past, as in generation.
        corruption: context tokens are replaced by random ones at a rate drawn from U(0, corruption) per sample.
    """
    low, high = _checked(mask_rate)
    _, length, size = tokens.shape
    masks, replaced, noise = [], [], []
    for generator in generators(seeds, Stream.MASKED_TOKEN):
        rate, prefix, level = torch.rand(3, generator=generator).tolist()
        first = 1
        if prefix < clean_prefix and length > 2:
            first = int(torch.randint(1, length, (), generator=generator))
        mask = torch.rand(length, size, generator=generator) < low + (high - low) * rate
        mask[:first] = False
        if not mask.any():
            mask[-1, int(torch.randint(size, (), generator=generator))] = True
        masks.append(mask)
        replaced.append(torch.rand(length, size, generator=generator) < corruption * level)
        noise.append(torch.randint(num_codes, (length, size), generator=generator))
    mask, wrong, noise = (torch.stack(part).to(tokens.device) for part in (masks, replaced, noise))
    return Masked(torch.where(wrong & ~mask, noise, tokens), mask)


def mask_after_clean(
    tokens: Tensor,
    seeds: Tensor,
    num_codes: int,
    mask_rate: tuple[float, float] = (0.5, 1.0),
    whole_frames: float = 0.3,
    corruption: float = 0.0,
) -> Masked:
    """Bernoulli masks for training after a clean context: every frame but the first is predicted after all frames
    before it, as in generation, so each has a rate of its own.

    Args:
        tokens, seeds, mask_rate: see `mask_tokens`.
        whole_frames: share of the frames that are masked as a whole, as they are in a sampler's first pass.
        corruption: tokens of the context, and those of a frame that are seen, are replaced by random ones at a rate
            drawn from U(0, corruption) per sample.
    """
    low, high = _checked(mask_rate)
    _, length, size = tokens.shape
    masks, wrong, noise = [], [], []
    for generator in generators(seeds, Stream.MASKED_TOKEN):
        level = torch.rand((), generator=generator)
        whole, rates = torch.rand(2, length, 1, generator=generator)
        rates = torch.where(whole < whole_frames, 1.0, low + (high - low) * rates)
        mask = torch.rand(length, size, generator=generator) < rates
        mask[0] = False
        if not mask.any():
            mask[-1, int(torch.randint(size, (), generator=generator))] = True
        masks.append(mask)
        wrong.append(torch.rand(2, length, size, generator=generator) < corruption * level)
        noise.append(torch.randint(num_codes, (2, length, size), generator=generator))
    mask, wrong, noise = (torch.stack(part).to(tokens.device) for part in (masks, wrong, noise))
    context, inputs = torch.where(wrong, noise, tokens[:, None]).unbind(1)
    return Masked(torch.where(mask, tokens, inputs), mask, context)


def expected_masked(length: int, size: int, mask_rate: tuple[float, float], clean_prefix: float) -> float:
    """How many tokens `mask_tokens` masks in a clip of `length` frames of `size` tokens, on average over seeds."""
    low, high = mask_rate
    firsts = range(1, length)
    number = 0.0
    for first in firsts:
        probability = clean_prefix / len(firsts) + (1 - clean_prefix) * (first == 1)
        tokens = (length - first) * size
        # where the rate masks no token one is masked all the same
        number += probability * (tokens * (low + high) / 2 + _mean_power(low, high, tokens))
    return number


def expected_masked_after_clean(length: int, size: int, mask_rate: tuple[float, float], whole_frames: float) -> float:
    """How many tokens `mask_after_clean` masks in a clip of `length` frames of `size` tokens, on average over seeds."""
    low, high = mask_rate
    mean = whole_frames + (1 - whole_frames) * (low + high) / 2
    nowhere = ((1 - whole_frames) * _mean_power(low, high, size)) ** (length - 1)
    return (length - 1) * size * mean + nowhere


def choose_places(tokens: Tensor, seeds: Tensor, count: int) -> Thin:
    """`count` of the S places of each clip of tokens int64 [B, T, S]: those whose token changes in the clip, and a
    random choice of the others, weighted to stand for all of them. Where `count` or more change, a random choice."""
    size = tokens.shape[2]
    moving = (tokens != tokens[:, :1]).any(1).cpu()  # [B, S]
    places, counts = [], []
    for generator, moves in zip(generators(seeds, Stream.KEPT_PLACE), moving, strict=True):
        order = torch.randperm(size, generator=generator)
        number = int(moves.sum())
        if number < count:
            order = torch.cat([order[moves[order]], order[~moves[order]]])
            others = torch.full((count - number,), (size - number) / (count - number))
            counts.append(torch.cat([torch.ones(number), others]))
        else:
            counts.append(torch.full((count,), size / count))
        places.append(order[:count])
    return Thin(torch.stack(places).to(tokens.device), torch.stack(counts).to(tokens.device))


def with_own_draws(masked: Masked, draws: Tensor, seeds: Tensor, share: float) -> Masked:
    """`masked` with tokens of its context replaced by what the model itself drew there, `draws` int64 [B, T, S], at a
    rate drawn from U(0, share) per sample. Frame 0 is a prompt and stays."""
    own = []
    for generator in generators(seeds, Stream.OWN_DRAW):
        level = torch.rand((), generator=generator)
        own.append(torch.rand(draws.shape[1:], generator=generator) < share * level)
    own = torch.stack(own).to(draws.device)
    own[:, 0] = False
    return replace(masked, context=torch.where(own, draws, masked.context))


def own_noise(seeds: Tensor, length: int, size: int) -> Tensor:
    """float32 [B, T, S] in [0, 1): the noise of the draws for `with_own_draws`, a function of each sample's seed."""
    return torch.stack([torch.rand(length, size, generator=each) for each in generators(seeds, Stream.OWN_DRAW, 1)])


def generators(seeds: Tensor, *stream: int) -> Iterator[torch.Generator]:
    """A generator of a `Stream` (and a number) for each of the samples' `seeds` int64 [B]."""
    return (torch.Generator().manual_seed(fold_in(seed, *stream)) for seed in seeds.tolist())


def _checked(mask_rate: tuple[float, float]) -> tuple[float, float]:
    low, high = mask_rate
    if not 0 < low <= high <= 1:
        raise ValueError(f"mask_rate={(low, high)}: give 0 < low ≤ high ≤ 1")
    return low, high


def _mean_power(low: float, high: float, count: int) -> float:
    """The probability that none of `count` tokens is masked: the mean of (1 - rate) ** count over the rates."""
    if high == low:
        return (1 - low) ** count
    return ((1 - low) ** (count + 1) - (1 - high) ** (count + 1)) / ((count + 1) * (high - low))
