"""Sharded checkpoints.

Sharded checkpoints: a folder in which every rank has written its own part, for models that no process holds whole.

    meta.pt                      the checkpoint as in a single file, with None in place of every sharded tensor
    shard-00001-of-00008.pt      rows of the sharded tensors, of one rank, by their place in the checkpoint

All are files of `torch.save` with plain containers and tensors, and are read as such. (torch.distributed.checkpoint
describes its folders by a pickle, which runs what is in it when it is read.)

Sharded models and optimisers from checkpoints of any strategy and number of ranks: each rank reads its own rows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.common.errors import UserError
from genie.common.files import sync
from genie.distributed.sharding import own_rows

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


Stored = ShardedFiles | SingleFile


def rows(pieces: list[Tensor], wanted: slice) -> Tensor:
    """Rows of a tensor that is cut into `pieces` along its first axis; no others are read."""
    found, first = [], 0
    for piece in pieces:
        low, high = max(first, wanted.start), min(first + len(piece), wanted.stop)
        if low < high:
            found.append(piece[low - first : high - first])
        first += len(piece)
    return torch.cat(found) if found else pieces[0][:0]


def fill(target: Tensor, pieces: list[Tensor], name: str) -> None:
    """Give a tensor, of which this rank may hold its rows, what is stored in pieces. UserError for another shape."""
    shape = pieces[0].shape
    if len(pieces) > 1:
        shape = torch.Size([sum(len(piece) for piece in pieces), *shape[1:]])
    if shape != target.shape:
        raise UserError(f"the checkpoint holds {name} of shape {list(shape)}, the model {list(target.shape)}")
    if isinstance(target, DTensor):
        target.to_local().copy_(rows(pieces, own_rows(target)))
    else:
        target.copy_(torch.cat(pieces) if len(pieces) > 1 else pieces[0])


@torch.no_grad()
def restore_weights(module: nn.Module, stored: Stored) -> None:
    """Give a module the parameters and buffers of a checkpoint. UserError where they are not those of the module."""
    own = module.state_dict()
    differing = sorted(own.keys() ^ stored.checkpoint["state_dict"].keys())
    if differing:
        raise UserError(f"the checkpoint is of another model, which differs in {', '.join(differing[:4])}")
    for name, target in own.items():
        fill(target, stored.pieces("state_dict", name), name)


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, stored: Stored, index: int) -> None:
    """Give an optimiser, whose parameters carry names, its state number `index` in a checkpoint, parameter by name.

    A checkpoint from before the names tells parameters by their order in the groups, which is that of the names here.
    """
    saved, groups = stored.checkpoint["optimizer_states"][index], optimizer.param_groups
    if [len(group["params"]) for group in saved["param_groups"]] != [len(group["params"]) for group in groups]:
        raise UserError("the checkpoint's optimiser is for other parameters: it was written with another model")
    places = {
        name: place
        for group, fresh in zip(saved["param_groups"], groups, strict=True)
        for name, place in zip(group.get("param_names", fresh["param_names"]), group["params"], strict=True)
    }
    state, numbered, first = {}, [], 0
    for group, fresh in zip(saved["param_groups"], groups, strict=True):
        numbers = range(first, first + len(fresh["params"]))
        first = numbers.stop
        numbered.append({**group, "params": list(numbers), "param_names": fresh["param_names"]})
        for number, name, parameter in zip(numbers, fresh["param_names"], fresh["params"], strict=True):
            place = places.get(name)
            if place is None:
                raise UserError(f"the checkpoint's optimiser does not know {name}: it was written with another model")
            entry = saved["state"].get(place)
            if entry is not None:  # none yet for parameters that never had a gradient
                at = ("optimizer_states", index, "state", place)
                state[number] = {key: _like(parameter, stored.pieces(*at, key), f"{key} of {name}") for key in entry}
    optimizer.load_state_dict({"state": state, "param_groups": numbered})


def _like(parameter: nn.Parameter, pieces: list[Tensor], name: str) -> Tensor:
    """A tensor of the optimiser's state, sharded as its parameter is; the count of steps as it is."""
    if pieces[0].dim() == 0:
        return pieces[0].clone()
    value = torch.empty_like(parameter, dtype=pieces[0].dtype)
    fill(value, pieces, name)
    return value
