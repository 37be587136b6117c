"""Key-value cache of causal attention in time.

Later frames do not change the keys and values of earlier ones, so a new frame costs one frame instead of the window.
`TemporalCache` is the memory, allocated once; a `Past` is a value that says which of it belongs to one state of the
world; a `Span` is the place that the frames of one forward pass take in it.

The memory is append-only and shared by all states along one line: an earlier state reads fewer frames of it. A second
branch that leaves a state would overwrite the first and takes a copy. When a window is full its line restarts the
memory, and earlier states, whose frames are then gone, run them again.

Dimension letters: `B` batch, `R` rows of the batch that a pass runs, `S` tokens of one frame, `N` heads, `E` head
size, `F` capacity in frames, `P` visible frames, `t` new frames of a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class TemporalCache:
    """Memory for `capacity` frames of `batch` rows in each of `num_blocks` blocks; the buffers [B, S, N, F, E] are
    allocated with the first keys. Without blocks frames are only counted."""

    def __init__(self, num_blocks: int, batch: int, capacity: int) -> None:
        self.num_blocks, self.batch, self.capacity = num_blocks, batch, capacity
        self.keys: list[Tensor | None] = [None] * num_blocks
        self.values: list[Tensor | None] = [None] * num_blocks
        self.written = [0] * batch  # frames in use by some state, by row
        self.version = [0] * batch  # restarts by row

    def buffers(self, block: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of a block, for keys `like` [R, S, N, t, E]."""
        keys, values = self.keys[block], self.values[block]
        if keys is None or values is None:
            shape = (self.batch, *like.shape[1:3], self.capacity, like.shape[-1])
            # attention on CPU is in fp32 under any autocast (`attend`): stored so, no pass converts
            dtype = torch.float32 if like.device.type == "cpu" else like.dtype
            keys = self.keys[block] = torch.zeros(shape, dtype=dtype, device=like.device)
            values = self.values[block] = torch.zeros(shape, dtype=dtype, device=like.device)
        return keys, values

    def num_bytes(self) -> int:
        """Size of all buffers."""
        return sum(buffer.nbytes for buffer in (*self.keys, *self.values) if buffer is not None)


@dataclass(frozen=True)
class Past:
    """A state's part of a cache: row b of the state is row `rows[b]` there, with the first `lengths[b]` frames, as long
    as that row is still of version `versions[b]`."""

    cache: TemporalCache
    rows: tuple[int, ...]
    versions: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def empty(cls, num_blocks: int, batch: int, capacity: int) -> "Past":
        return cls(TemporalCache(num_blocks, batch, capacity), tuple(range(batch)), (0,) * batch, (0,) * batch)

    def select(self, index: list[int]) -> "Past":
        """The rows `index`, which may repeat. Nothing is copied before the first frame is run."""
        parts = (self.rows, self.versions, self.lengths)
        return Past(self.cache, *(tuple(part[i] for i in index) for part in parts))

    def shortened(self, lengths: Sequence[int]) -> "Past":
        """With at most the first `lengths[b]` frames of each row b."""
        return replace(self, lengths=tuple(map(min, self.lengths, lengths)))

    def known(self) -> tuple[int, ...]:
        """Frames of each row that are still in the cache."""
        version = self.cache.version
        rows = zip(self.rows, self.versions, self.lengths, strict=True)
        return tuple(length if version[row] == mine else 0 for row, mine, length in rows)

    def writable(self) -> "Past":
        """Itself, or a copy where others have written after it: frames may be appended to it."""
        cache = self.cache
        head = tuple(cache.version), tuple(cache.written)
        if self.rows == tuple(range(cache.batch)) and (self.versions, self.lengths) == head:
            return self
        return Past.joined([self])

    def restarted(self, rows: list[int]) -> "Past":
        """With the windows of `rows` restarted: none of their frames known, in the same memory where it is not
        shared."""
        past = self.writable()
        cache, versions, lengths = past.cache, list(past.versions), list(past.lengths)
        for row in rows:
            cache.version[row] += 1
            cache.written[row] = 0
            versions[row], lengths[row] = cache.version[row], 0
        return replace(past, versions=tuple(versions), lengths=tuple(lengths))

    def appended(self, count: int, rows: list[int] | None = None) -> "Past":
        """With the `count` frames of a `Span` that were run in `rows` (all of them by default)."""
        lengths = list(self.lengths)
        for row in range(len(lengths)) if rows is None else rows:
            lengths[row] += count
            self.cache.written[row] = lengths[row]
        return replace(self, lengths=tuple(lengths))

    def caught_up(
        self, lengths: Sequence[int], run: Callable[[list[int] | slice, int, int, "Span"], object], device: torch.device
    ) -> "Past":
        """With the first `lengths[b]` frames of each row b; missing ones are run by `run(rows, start, stop, span)`,
        together where rows lack the same ones."""
        past = self.writable()
        lacking: dict[tuple[int, int], list[int]] = {}
        for row, reach in enumerate(zip(past.lengths, lengths, strict=True)):
            lacking.setdefault(reach, []).append(row)
        for (start, stop), rows in lacking.items():
            if start < stop:
                some = rows if len(lacking) > 1 else None
                if past.cache.num_blocks:  # else frames are independent
                    run(slice(None) if some is None else some, start, stop, past.span(stop - start, device, some))
                past = past.appended(stop - start, some)
        return past

    @staticmethod
    def joined(pasts: list["Past"]) -> "Past":
        """Concatenated along the batch: a copy of the known frames."""
        known = tuple(length for past in pasts for length in past.known())
        first = pasts[0].cache
        cache = TemporalCache(first.num_blocks, len(known), first.capacity)
        cache.written = list(known)
        filled, start = max(known), 0
        for past in pasts if filled else []:
            stop = start + len(past.rows)
            for block in range(first.num_blocks) if past.cache.num_bytes() else []:
                keys, values = past.cache.keys[block], past.cache.values[block]
                assert keys is not None and values is not None, "a pass fills all blocks"
                rows = torch.tensor(past.rows, device=keys.device)
                for new, old in zip(cache.buffers(block, keys), (keys, values), strict=True):
                    new[start:stop, :, :, :filled] = old[rows, :, :, :filled]
            start = stop
        return Past(cache, tuple(range(len(known))), (0,) * len(known), known)

    def span(self, count: int, device: torch.device, rows: list[int] | None = None) -> "Span":
        """The place of the next `count` frames of `rows` (all of them by default)."""
        lengths = self.lengths if rows is None else tuple(self.lengths[row] for row in rows)
        return Span(self.cache, rows, lengths, count, device)


class Layer(NamedTuple):
    """One block's part of a span."""

    span: "Span | CleanContext"
    block: int


@dataclass
class Span:
    """`count` new frames in each of `rows` of a cache (None: all of them), after the first `starts` ones. Frames are
    written as they are run, but later passes read them only once a `Past` counts them (`Past.appended`): a frame whose
    tokens are not all known is run, and overwritten, many times."""

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

    def update(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes keys and values [R, S, N, t, E] of the new frames; returns those of visible ones [R, S, N, P, E]."""
        keys, values = self.cache.buffers(block, key)
        for buffer, new in zip((keys, values), (key, value), strict=True):
            if self.rows is None and self.uniform:
                buffer[:, :, :, self.starts[0] : self.end] = new
            else:
                rows, slots = self.places
                buffer[rows, :, :, slots] = rearrange(new, "r s n t e -> r t s n e").to(buffer.dtype)
        if self.index is None:
            return keys[:, :, :, : self.end], values[:, :, :, : self.end]
        return keys[self.index, :, :, : self.end], values[self.index, :, :, : self.end]


class CleanContext:
    """Layout of a clip of T frames that is run twice side by side, clean frames 0 … T-2 and then frames 1 … T-1 that
    are to be predicted. Clean frames see clean frames up to themselves, the others earlier clean frames and themselves.
    It has the interface of a `Span`, without a cache.

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

    def update(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return key, value
