"""Vocabulary of the dynamics: token embeddings and prediction heads, by whole codes or FSQ digits.

An FSQ code (arXiv 2309.15505) is a number of L digits, and codes with close digits look similar. A table of K codes
learns each of them separately; embeddings and logits that are sums over digits are shared by all codes with a digit.
MAGVIT-v2 (arXiv 2310.05737) and 1xgpt factorise their codes likewise; the RQ-Transformer (arXiv 2203.01941) predicts
the parts of a code one after another.

Dimension letters: `K` codes, `L` digits of a code, `D` width, `M` tokens.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDINGS = ("codes", "digits", "coordinates")
HEADS = ("codes", "digits", "both", "chain")
AT_ONCE = 2**22  # log-probabilities of codes in `DigitChainHead.likeliest`: 16 MiB


class Digits(nn.Module):
    """Digits of mixed-radix codes, the lowest first (`FiniteScalarQuantizer`); `levels` has the values per digit."""

    sizes: Tensor
    bases: Tensor
    starts: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        starts = [0, *itertools.accumulate(self.levels)]
        bases = [math.prod(self.levels[:place]) for place in range(len(self.levels))]
        self.num_codes, self.num_rows = math.prod(self.levels), starts[-1]
        self.register_buffer("sizes", torch.tensor(self.levels), persistent=False)
        self.register_buffer("bases", torch.tensor(bases), persistent=False)
        self.register_buffer("starts", torch.tensor(starts[:-1]), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """codes int64 [...] in [0, K) → digits int64 [..., L], digit l in [0, levels[l])."""
        return codes[..., None] // self.bases % self.sizes

    def coordinates(self, codes: Tensor) -> Tensor:
        """codes int64 [...] in [0, K) → fp32 [..., L] in [-1, 1]."""
        return self(codes) * 2.0 / (self.sizes - 1) - 1.0


class DigitEmbedding(nn.Module):
    """Sum of the embeddings of a token's digits; the mask, token K, has its own."""

    def __init__(self, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.digits = Digits(levels)
        self.table = nn.Embedding(self.digits.num_rows, width)
        self.mask = nn.Embedding(1, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [...] in [0, K] → [..., D]."""
        masked = tokens == self.digits.num_codes
        rows = self.digits(tokens.masked_fill(masked, 0)) + self.digits.starts
        return torch.where(masked[..., None], self.mask.weight[0], self.table(rows).sum(-2))


class CoordinateEmbedding(nn.Module):
    """Linear layer on a code's coordinates in [-1, 1]^L; the mask, token K, has its own embedding."""

    def __init__(self, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.digits = Digits(levels)
        self.projection = nn.Linear(len(self.digits.levels), width)
        self.mask = nn.Embedding(1, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [...] in [0, K] → [..., D]."""
        masked = tokens == self.digits.num_codes
        embedded = self.projection(self.digits.coordinates(tokens.masked_fill(masked, 0)))
        return torch.where(masked[..., None], self.mask.weight[0].to(embedded.dtype), embedded)


def score(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats, fp32 [M], of `target` int64 [M] with `logits` fp32 [M, K], and whether it is the most
    likely code, bool [M]."""
    return F.cross_entropy(logits, target, reduction="none"), logits.argmax(-1) == target


class CodeHead(nn.Linear):
    """A linear layer with a row of weights for each of K codes."""

    starts_at_zero = False  # see `initialize`

    def __init__(self, width: int, num_codes: int, bias: bool = True) -> None:
        super().__init__(width, num_codes, bias=bias)

    def score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`score` of `target` int64 [M] given `hidden` [M, D]."""
        return score(self(hidden).float(), target)


class DigitHead(nn.Module):
    """Logits for each digit; a code's log-probability is the sum over its digits. Digits are independent given the
    hidden state: two likely codes make their mixtures likely, too."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.digits = Digits(levels)
        self.projection = nn.Linear(width, self.digits.num_rows)

    def by_digit(self, hidden: Tensor) -> list[Tensor]:
        """Log-probabilities fp32 [..., levels[l]] of each digit."""
        parts = self.projection(hidden).float().split(self.digits.levels, dim=-1)
        return [part.log_softmax(-1) for part in parts]

    def forward(self, hidden: Tensor) -> Tensor:
        """Log-probabilities fp32 [..., K] of codes, of hidden states [..., D]."""
        joint, *others = self.by_digit(hidden)  # the first digit is the lowest: it varies fastest
        for part in others:
            joint = (part[..., :, None] + joint[..., None, :]).flatten(-2)
        return joint

    def score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """As `CodeHead.score`, without any tensor of K numbers."""
        parts, digits = self.by_digit(hidden), self.digits(target)
        pairs = zip(parts, digits.unbind(-1), strict=True)
        nats = -cast(Tensor, sum(part.gather(-1, digit[:, None])[:, 0] for part, digit in pairs))
        likeliest = torch.stack([part.argmax(-1) for part in parts], dim=-1)
        return nats, (likeliest == digits).all(-1)


class CodeAndDigitHead(nn.Module):
    """Sum of the logits of a code's digits and of its own one, which is 0 at first and learns dependences of digits."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.by_digit = DigitHead(width, levels)
        self.own = CodeHead(width, self.by_digit.digits.num_codes)
        self.own.starts_at_zero = True

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits fp32 [..., K] of hidden states [..., D]."""
        return self.by_digit(hidden) + self.own(hidden).float()

    def score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """As `CodeHead.score`."""
        return score(self(hidden), target)


class DigitChainHead(nn.Module):
    """Logits for each digit given those before it, the lowest first: its own, and for every earlier digit the row of a
    table of the pair. The hidden state gives them all. What one digit says of another is known, unlike in a
    `DigitHead`, and a target's probability takes no tensor of K numbers, unlike in a `CodeAndDigitHead`."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.digits = Digits(levels)
        self.single = nn.Linear(width, self.digits.num_rows)
        self.pairs = nn.ModuleList(
            nn.Linear(width, sum(self.digits.levels[:place]) * level, bias=False)
            for place, level in enumerate(self.digits.levels[1:], 1)
        )
        for pair in self.pairs:
            pair.starts_at_zero = True  # pyright: ignore[reportArgumentType]

    def tables(self, hidden: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of hidden states [..., D]: the logits of each digit l by itself, fp32 [..., levels[l]]; and from the second
        digit on what each value of those before adds to them, fp32 [..., levels[l], levels[0] + … + levels[l-1]]."""
        singles = self.single(hidden).float().split(self.digits.levels, dim=-1)
        pairs = zip(self.pairs, self.digits.levels[1:], strict=True)
        return list(singles), [pair(hidden).float().unflatten(-1, (level, -1)) for pair, level in pairs]

    def forward(self, hidden: Tensor) -> Tensor:
        """Log-probabilities fp32 [..., K] of codes, of hidden states [..., D]."""
        (first, *singles), pairs = self.tables(hidden)
        joint = first.log_softmax(-1)
        for place, (single, pair) in enumerate(zip(singles, pairs, strict=True), 1):
            logits = single[..., None]  # [..., level, 1 or digits before]: the first of them varies fastest
            for values in pair.split(self.digits.levels[:place], dim=-1):
                logits = (values[..., :, None] + logits[..., None, :]).flatten(-2)
            joint = (logits.log_softmax(-2) + joint[..., None, :]).flatten(-2)
        return joint

    def score(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """As `CodeHead.score`."""
        (first, *singles), pairs = self.tables(hidden)
        digits = self.digits(target)
        nats = F.cross_entropy(first, digits[:, 0], reduction="none")
        for place, (single, pair) in enumerate(zip(singles, pairs, strict=True), 1):
            before = digits[:, None, :place] + self.digits.starts[:place]
            logits = single + pair.gather(-1, before.expand(-1, pair.shape[1], -1)).sum(-1)
            nats = nats + F.cross_entropy(logits, digits[:, place], reduction="none")
        return nats, self.likeliest(hidden) == target

    @torch.no_grad()
    def likeliest(self, hidden: Tensor) -> Tensor:
        """The most likely code, int64 [M], of each of the hidden states [M, D], of some at a time: all codes of all of
        them would be the largest tensor of a training."""
        rows = max(1, AT_ONCE // self.digits.num_codes)
        return torch.cat([self(some).argmax(-1) for some in hidden.split(rows)])


def expected_distance(probabilities: Tensor, target: Tensor, places: Tensor) -> Tensor:
    """[M]: expected squared distance of codes drawn with `probabilities` [M, K] from `target` int64 [M], where codes
    have coordinates `places` [K, L]."""
    mean, square = probabilities @ places, probabilities @ places.square().sum(-1)
    aim = places[target]
    return square - 2 * (mean * aim).sum(-1) + aim.square().sum(-1)


def build_embedding(kind: str, num_codes: int, levels: Sequence[int] | None, width: int) -> nn.Module:
    """The embedding of that name for tokens in [0, K], K the mask; ValueError for another name or without digits."""
    _check("token_embedding", kind, EMBEDDINGS, num_codes, levels)
    if kind == "codes":
        return nn.Embedding(num_codes + 1, width)
    return {"digits": DigitEmbedding, "coordinates": CoordinateEmbedding}[kind](levels, width)


def build_head(
    kind: str, num_codes: int, levels: Sequence[int] | None, width: int
) -> CodeHead | DigitHead | CodeAndDigitHead | DigitChainHead:
    """The head of that name for K codes; ValueError for another name or without digits."""
    _check("token_head", kind, HEADS, num_codes, levels)
    if kind == "codes":
        return CodeHead(width, num_codes)
    return {"digits": DigitHead, "both": CodeAndDigitHead, "chain": DigitChainHead}[kind](width, levels)


def _check(option: str, kind: str, kinds: Sequence[str], num_codes: int, levels: Sequence[int] | None) -> None:
    if kind not in kinds:
        raise ValueError(f"{option}={kind!r}: choose one of {', '.join(kinds)}")
    if kind != "codes" and (not levels or math.prod(levels) != num_codes):
        raise ValueError(
            f"{option}={kind}: only codes of model.tokenizer.quantizer=fsq have digits; give codes with another "
            "quantiser"
        )
