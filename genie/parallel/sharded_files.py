"""Sharded checkpoints: a folder in which every rank has written its own part, for models that no process holds whole.

    meta.pt                      the checkpoint as in a single file, with None in place of every sharded tensor
    shard-00001-of-00008.pt      rows of the sharded tensors, of one rank, by their place in the checkpoint

All are files of `torch.save` with plain containers and tensors, and are read as such. (torch.distributed.checkpoint
describes its folders by a pickle, which runs what is in it when it is read.)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from genie.common.files import sync

META = "meta.pt"
Place = tuple[str | int, ...]  # keys and indices that lead to a tensor in a checkpoint


def is_checkpoint(path: Path) -> bool:
    """Whether there is something of that name: a file, or the folder of a sharded checkpoint."""
    return path.is_file() or (path / META).is_file()


def shard_name(rank: int, num_shards: int) -> str:
    return f"shard-{rank + 1:05}-of-{num_shards:05}.pt"


def with_shards_replaced(value: Any, replace: Callable[[DTensor, Place], Any], place: Place = ()) -> Any:
    """A copy of a part of a checkpoint, with `replace(tensor, place)` in place of every sharded tensor, one by one."""
    if isinstance(value, DTensor):
        return replace(value, place)
    if isinstance(value, dict):
        return {key: with_shards_replaced(child, replace, (*place, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [with_shards_replaced(child, replace, (*place, number)) for number, child in enumerate(value)]
    return value


def gather_shards(value: Any, keep: bool) -> Any:
    """A copy of a part of a checkpoint with whole tensors on the CPU where `keep`, with None in their place elsewhere.

    All ranks have to call it.
    """

    def gathered(tensor: DTensor, place: Place) -> Tensor | None:
        whole = tensor.detach().full_tensor()
        return whole.cpu() if keep else None

    return with_shards_replaced(value, gathered)


def write_shard(folder: Path, checkpoint: dict[str, Any], rank: int, num_shards: int) -> None:
    """Write what a rank writes of a checkpoint into a folder that is there: its shard, and meta.pt if it is the first.

    On return it is on disk. All ranks have to call it.
    """
    shards: dict[Place, Tensor] = {}

    def taken(tensor: DTensor, place: Place) -> None:
        shards[place] = tensor.to_local().detach().cpu()

    rest = with_shards_replaced(checkpoint, taken)
    files = {shard_name(rank, num_shards): shards}
    if rank == 0:
        files[META] = {"num_shards": num_shards, "checkpoint": rest}
    for name, contents in files.items():
        torch.save(contents, folder / name)
        sync(folder / name)


class ShardedFiles:
    """The files of a sharded checkpoint, of any number of ranks: read without processes, tensors only where touched.

    Raises FileNotFoundError for missing files, and what `torch.load` raises for damaged ones.

    `checkpoint`: the contents of meta.pt.
    """

    def __init__(self, folder: Path) -> None:
        meta = torch.load(folder / META, map_location="cpu", weights_only=True)
        names = [shard_name(rank, meta["num_shards"]) for rank in range(meta["num_shards"])]
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise FileNotFoundError(f"{', '.join(missing)} missing")
        self.checkpoint: dict[str, Any] = meta["checkpoint"]
        self.shards: list[dict[Place, Tensor]] = [
            torch.load(folder / name, map_location="cpu", weights_only=True, mmap=True) for name in names
        ]

    def pieces(self, *place: str | int) -> list[Tensor]:
        """The tensor at that place, cut along its first axis."""
        if place in self.shards[0]:
            return [shard[place] for shard in self.shards]
        return [at(self.checkpoint, place)]


class SingleFile:
    """A checkpoint of one file behind the same interface."""

    def __init__(self, path: Path) -> None:
        self.checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)

    def pieces(self, *place: str | int) -> list[Tensor]:
        return [at(self.checkpoint, place)]


def open_stored(path: Path) -> ShardedFiles | SingleFile:
    """A checkpoint of either form."""
    return ShardedFiles(path) if path.is_dir() else SingleFile(path)


def at(value: Any, place: Place) -> Any:
    """What is at a place."""
    for key in place:
        value = value[key]
    return value


def read_sharded(folder: Path, weights: bool = True) -> dict[str, Any]:
    """A sharded checkpoint as a single file would hold it, with whole tensors on the CPU; in one process.

    `weights=False`: what was sharded is on the meta device: it has a shape, and is not read.
    """
    stored = ShardedFiles(folder)
    for place in stored.shards[0]:
        pieces = stored.pieces(*place)
        at(stored.checkpoint, place[:-1])[place[-1]] = torch.cat(pieces if weights else [p.to("meta") for p in pieces])
    return stored.checkpoint
