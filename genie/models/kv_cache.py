"""Key-value cache of causal attention in time.

Keys and values of the frames that a causal model has run, so that a new frame costs one frame and not the window.

Causal attention in time gives every frame keys and values that later frames do not change: they are computed once and
kept. `TemporalCache` is the memory, allocated once; a `Past` is a value that says which of it belongs to one state
of the world; a `Span` is the place that the frames of one forward pass take in it.

The memory is only ever appended to. All states along one line share it: an earlier one reads fewer frames of it. The
second branch that leaves a state would write where the first has written: it takes a copy. When a window is full its
line begins the memory anew, and earlier states then find nothing of theirs in it: they run their frames again.

Dimension letters: `B` batch, `R` rows of the batch that a pass runs, `S` tokens of one frame, `N` heads, `E` head
size, `F` frames that there is room for, `P` frames in sight, `t` new frames of a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class TemporalCache:
    """Room for `capacity` frames of `batch` rows in each of `num_blocks` blocks; the buffers [B, S, N, F, E] are
    allocated when the first keys come. Without any block nothing is kept, and frames are only counted."""

    def __init__(self, num_blocks: int, batch: int, capacity: int) -> None:
        self.num_blocks, self.batch, self.capacity = num_blocks, batch, capacity
        self.keys: list[Tensor | None] = [None] * num_blocks
        self.values: list[Tensor | None] = [None] * num_blocks
        self.written = [0] * batch  # frames that some state counts on, by row
        self.version = [0] * batch  # how often a row was begun anew

    def buffers(self, block: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of a block, for keys `like` [R, S, N, t, E]."""
        if self.keys[block] is None:
            shape = (self.batch, *like.shape[1:3], self.capacity, like.shape[-1])
            # attention on CPU is in fp32 whatever autocast says (`attend`): kept so, nothing is converted in each pass
            dtype = torch.float32 if like.device.type == "cpu" else like.dtype
            self.keys[block] = torch.zeros(shape, dtype=dtype, device=like.device)
            self.values[block] = torch.zeros(shape, dtype=dtype, device=like.device)
        return self.keys[block], self.values[block]

    def num_bytes(self) -> int:
        """Of all buffers."""
        return sum(buffer.nbytes for buffer in (*self.keys, *self.values) if buffer is not None)


@dataclass(frozen=True)
class Past:
    """What a state of the world has of a cache: row b of the state is row `rows[b]` there, with the first `lengths[b]`
    frames, as long as that row is still of version `versions[b]`."""

    cache: TemporalCache
    rows: tuple[int, ...]
    versions: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def empty(cls, num_blocks: int, batch: int, capacity: int) -> "Past":
        """Nothing yet; costs nothing before the first frame is run."""
        return cls(TemporalCache(num_blocks, batch, capacity), tuple(range(batch)), (0,) * batch, (0,) * batch)

    def select(self, index: list[int]) -> "Past":
        """The rows `index`, which may repeat. Nothing is copied before the first frame is run."""
        return Past(
            self.cache,
            tuple(self.rows[i] for i in index),
            tuple(self.versions[i] for i in index),
            tuple(self.lengths[i] for i in index),
        )

    def shortened(self, lengths: Sequence[int]) -> "Past":
        """With at most the first `lengths[b]` frames of each row b."""
        return replace(self, lengths=tuple(map(min, self.lengths, lengths)))

    def known(self) -> tuple[int, ...]:
        """Frames of each row that need not be run again."""
        version = self.cache.version
        rows = zip(self.rows, self.versions, self.lengths, strict=True)
        return tuple(length if version[row] == mine else 0 for row, mine, length in rows)

    def writable(self) -> "Past":
        """Itself where nobody else has written behind it, or a copy: frames may be appended to it."""
        cache = self.cache
        head = tuple(cache.version), tuple(cache.written)
        if self.rows == tuple(range(cache.batch)) and (self.versions, self.lengths) == head:
            return self
        return Past.joined([self])

    def restarted(self, rows: list[int]) -> "Past":
        """With nothing known of `rows`: their windows begin anew, in the same memory where it is theirs alone."""
        past = self.writable()
        cache, versions, lengths = past.cache, list(past.versions), list(past.lengths)
        for row in rows:
            cache.version[row] += 1
            cache.written[row] = 0
            versions[row], lengths[row] = cache.version[row], 0
        return replace(past, versions=tuple(versions), lengths=tuple(lengths))

    def appended(self, count: int, rows: list[int] | None = None) -> "Past":
        """After `count` frames of a `Span` were run in `rows` (all of them by default): they count from now on."""
        lengths = list(self.lengths)
        for row in range(len(lengths)) if rows is None else rows:
            lengths[row] += count
            self.cache.written[row] = lengths[row]
        return replace(self, lengths=tuple(lengths))

    def caught_up(
        self, lengths: Sequence[int], run: Callable[[list[int] | slice, int, int, "Span"], object], device: torch.device
    ) -> "Past":
        """With the first `lengths[b]` frames of each row b, those that it does not know run by
        `run(rows, start, stop, span)`: together, where rows lack the same ones."""
        past = self.writable()
        lacking: dict[tuple[int, int], list[int]] = {}
        for row, reach in enumerate(zip(past.lengths, lengths, strict=True)):
            lacking.setdefault(reach, []).append(row)
        for (start, stop), rows in lacking.items():
            if start < stop:
                some = rows if len(lacking) > 1 else None
                if past.cache.num_blocks:  # else later frames have nothing from these
                    run(slice(None) if some is None else some, start, stop, past.span(stop - start, device, some))
                past = past.appended(stop - start, some)
        return past

    @staticmethod
    def joined(pasts: list["Past"]) -> "Past":
        """One behind the other along the batch: a copy of what is known."""
        known = tuple(length for past in pasts for length in past.known())
        first = pasts[0].cache
        cache = TemporalCache(first.num_blocks, len(known), first.capacity)
        cache.written = list(known)
        filled, start = max(known), 0
        for past in pasts if filled else []:
            stop = start + len(past.rows)
            for block in range(first.num_blocks) if past.cache.num_bytes() else []:
                source = past.cache.keys[block], past.cache.values[block]
                rows = torch.tensor(past.rows, device=source[0].device)
                for new, old in zip(cache.buffers(block, source[0]), source, strict=True):
                    new[start:stop, :, :, :filled] = old[rows, :, :, :filled]
            start = stop
        return Past(cache, tuple(range(len(known))), (0,) * len(known), known)

    def span(self, count: int, device: torch.device, rows: list[int] | None = None) -> "Span":
        """Where the next `count` frames of `rows` (all of them by default) go."""
        lengths = self.lengths if rows is None else tuple(self.lengths[row] for row in rows)
        return Span(self.cache, rows, lengths, count, device)


class Layer(NamedTuple):
    """One block's part of a span."""

    span: "Span | CleanContext"
    block: int


@dataclass
class Span:
    """`count` new frames in each of `rows` of a cache (None: all of them), behind the first `starts` ones.

    Frames are written as they are run, and are read by later passes only once a `Past` has counted them
    (`Past.appended`): a frame whose tokens are not all known is run, and overwritten, many times.
    """

    cache: TemporalCache
    rows: list[int] | None
    starts: tuple[int, ...]
    count: int
    device: torch.device
    turns: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)  # by head size: see `rotation`

    def __post_init__(self) -> None:
        self.end = max(self.starts) + self.count
        assert self.end <= self.cache.capacity, "a window holds no more frames than its cache"
        self.uniform = len(set(self.starts)) == 1
        starts = torch.tensor(self.starts[:1] if self.uniform else self.starts)
        slots = starts[:, None] + torch.arange(self.count)  # [R or 1, t]
        self.slots = slots.to(self.device)
        self.index = None if self.rows is None else torch.tensor(self.rows, device=self.device)
        rows = torch.arange(len(self.starts), device=self.device) if self.index is None else self.index
        self.places = rows[:, None], self.slots.expand(len(rows), -1)  # [R, 1] and [R, t]
        self.causal = self.uniform and self.starts[0] == 0
        self.mask = None
        if not self.causal and (self.count > 1 or not self.uniform):
            visible = torch.arange(self.end) <= slots[..., None]  # [R or 1, t, P]
            self.mask = visible[:, None, None].to(self.device)  # for [R, S, N, t, P]

    def layer(self, block: int) -> Layer:
        """The part of block number `block`."""
        return Layer(self, block)

    def update(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes keys and values [R, S, N, t, E] of the new frames; returns those of all in sight [R, S, N, P, E]."""
        buffers = self.cache.buffers(block, key)
        for buffer, new in zip(buffers, (key, value), strict=True):
            if self.rows is None and self.uniform:
                buffer[:, :, :, self.starts[0] : self.end] = new
            else:
                rows, slots = self.places
                buffer[rows, :, :, slots] = rearrange(new, "r s n t e -> r t s n e").to(buffer.dtype)
        if self.index is None:
            return tuple(buffer[:, :, :, : self.end] for buffer in buffers)
        return tuple(buffer[self.index, :, :, : self.end] for buffer in buffers)


class CleanContext:
    """The layout of a clip of T frames that is run twice side by side, clean frames 0 … T-2 and then frames 1 … T-1
    that are to be predicted. In time, a clean frame sees clean frames up to itself, the others the clean frames before
    them and themselves. To a model it is what a `Span` is, without a cache behind it.

    Attributes:
        num_clean: T-1, the frames of each half.
        slots: int64 [1, 2 · (T-1)], the frame in the clip of each: both copies of a frame have one position.
        mask: bool [1, 1, 1, 2 · (T-1), 2 · (T-1)], true where a frame (row) sees another.
        end: T.
    """

    causal = False

    def __init__(self, length: int, device: torch.device) -> None:
        self.num_clean, self.end, self.device = length - 1, length, device
        time = torch.cat([torch.arange(length - 1), torch.arange(1, length)])
        clean = torch.arange(2 * (length - 1)) < length - 1
        sees = (clean[None] & (time[None] < time[:, None])) | torch.eye(len(time), dtype=torch.bool)
        self.slots, self.mask = time[None].to(device), sees[None, None, None].to(device)
        self.turns: dict[int, tuple[Tensor, Tensor]] = {}  # by head size: see `rotation`

    def layer(self, block: int) -> Layer:
        """The part of block number `block`."""
        return Layer(self, block)

    def update(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values as they are: nothing is kept."""
        return key, value
