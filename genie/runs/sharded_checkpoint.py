"""Sharded checkpoints: folders into which each rank writes its part of a model, never held whole.

    meta.pt                      the checkpoint as in a single file, with None in place of every sharded tensor
    shard-00001-of-00008.pt      rows of the sharded tensors of one rank, by their place in the checkpoint

All are files of `torch.save` with plain containers and tensors, and are read as such. (torch.distributed.checkpoint
describes its folders by a pickle, which executes code when it is read.) Sharded models and optimizers can be restored
from checkpoints of any strategy and number of ranks: each rank reads its own rows.
"""

import functools
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from genie.common.errors import UserError
from genie.common.files import sync
from genie.common.ranks import own_rows

if TYPE_CHECKING:  # a second to import
    from torch.distributed.tensor import DTensor

META = "meta.pt"
Place = tuple[str | int, ...]  # keys and indices that lead to a tensor in a checkpoint


def is_checkpoint(path: Path) -> bool:
    """Whether the path is a file, or the folder of a sharded checkpoint."""
    return path.is_file() or (path / META).is_file()


def is_sharded(value: Any) -> TypeGuard["DTensor"]:
    """Whether it is a `DTensor`, of which there are none before their module is imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def shard_name(rank: int, num_shards: int) -> str:
    return f"shard-{rank + 1:05}-of-{num_shards:05}.pt"


def with_shards_replaced(value: Any, replace: Callable[["DTensor", Place], Any], place: Place = ()) -> Any:
    """A copy of a part of a checkpoint, with `replace(tensor, place)` instead of each sharded tensor."""
    if is_sharded(value):
        return replace(value, place)
    if isinstance(value, dict):
        return {key: with_shards_replaced(child, replace, (*place, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [with_shards_replaced(child, replace, (*place, number)) for number, child in enumerate(value)]
    return value


def gather_shards(value: Any, keep: bool) -> Any:
    """A copy of a part of a checkpoint, with sharded tensors whole on the CPU, or None in their place without `keep`.

    All ranks have to call it.
    """

    def gathered(tensor: "DTensor", place: Place) -> Tensor | None:
        whole = cast("DTensor", tensor.detach()).full_tensor()
        return whole.cpu() if keep else None

    return with_shards_replaced(value, gathered)


def write_shard(folder: Path, checkpoint: dict[str, Any], rank: int, num_shards: int) -> None:
    """Writes a rank's part of a checkpoint into an existing folder: its shard, and meta.pt if it is the first.

    On return it is synced to disk. All ranks have to call it.
    """
    shards: dict[Place, Tensor] = {}

    def taken(tensor: "DTensor", place: Place) -> None:
        shards[place] = tensor.to_local().detach().cpu()

    rest = with_shards_replaced(checkpoint, taken)
    files: dict[str, dict] = {shard_name(rank, num_shards): shards}
    if rank == 0:
        files[META] = {"num_shards": num_shards, "checkpoint": rest}
    for name, contents in files.items():
        torch.save(contents, folder / name)
        sync(folder / name)


class StoredCheckpoint:
    """A checkpoint of one file, or of a folder with shards of any number of ranks, whose tensors are read where used.

    Raises FileNotFoundError for missing shards, and what `torch.load` raises for damaged files.

    `checkpoint`: the contents of the file or of meta.pt; `shards`: of each rank, none of a single file.
    """

    def __init__(self, path: Path) -> None:
        load = functools.partial(torch.load, map_location="cpu", weights_only=True, mmap=True)
        self.shards: list[dict[Place, Tensor]] = []
        if not path.is_dir():
            self.checkpoint: dict[str, Any] = load(path)
            return
        meta = load(path / META, mmap=False)
        names = [shard_name(rank, meta["num_shards"]) for rank in range(meta["num_shards"])]
        if missing := [name for name in names if not (path / name).is_file()]:
            raise FileNotFoundError(f"{', '.join(missing)} missing")
        self.checkpoint, self.shards = meta["checkpoint"], [load(path / name) for name in names]

    def pieces(self, *place: str | int) -> list[Tensor]:
        """The tensor at that place, cut along its first axis."""
        if self.shards and place in self.shards[0]:
            return [shard[place] for shard in self.shards]
        return [at(self.checkpoint, place)]


def at(value: Any, place: Place) -> Any:
    """The value at a place of a checkpoint."""
    return functools.reduce(operator.getitem, place, value)


def read_sharded(folder: Path, weights: bool = True) -> dict[str, Any]:
    """A sharded checkpoint as a single file would hold it, with whole tensors on the CPU; in one process.

    `weights=False`: sharded tensors are not read, they have only their shapes (meta device).
    """
    stored = StoredCheckpoint(folder)
    for place in stored.shards[0]:
        pieces = stored.pieces(*place)
        at(stored.checkpoint, place[:-1])[place[-1]] = torch.cat(pieces if weights else [p.to("meta") for p in pieces])
    return stored.checkpoint


def rows(pieces: list[Tensor], wanted: slice) -> Tensor:
    """The `wanted` rows of a tensor that is cut into `pieces` along its first axis; no others are read."""
    found, first = [], 0
    for piece in pieces:
        low, high = max(first, wanted.start), min(first + len(piece), wanted.stop)
        if low < high:
            found.append(piece[low - first : high - first])
        first += len(piece)
    return torch.cat(found) if found else pieces[0][:0]


def fill(target: Tensor, pieces: list[Tensor], name: str) -> None:
    """Copies stored pieces into a tensor, of which this rank may hold only its rows. UserError for another shape."""
    shape = pieces[0].shape
    if len(pieces) > 1:
        shape = torch.Size([sum(len(piece) for piece in pieces), *shape[1:]])
    if shape != target.shape:
        raise UserError(f"the checkpoint holds {name} of shape {list(shape)}, the model {list(target.shape)}")
    if is_sharded(target):
        target.to_local().copy_(rows(pieces, own_rows(target)))
    else:
        target.copy_(torch.cat(pieces) if len(pieces) > 1 else pieces[0])


@torch.no_grad()
def restore_weights(module: nn.Module, stored: StoredCheckpoint) -> None:
    """Restores the parameters and buffers of a module. UserError where the checkpoint is of another module."""
    own = module.state_dict()
    differing = sorted(own.keys() ^ stored.checkpoint["state_dict"].keys())
    if differing:
        raise UserError(f"the checkpoint is of another model, which differs in {', '.join(differing[:4])}")
    for name, target in own.items():
        fill(target, stored.pieces("state_dict", name), name)


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, stored: StoredCheckpoint, index: int) -> None:
    """Restores an optimizer with named parameters from the state number `index` of a checkpoint, by parameter name.

    Older checkpoints without names identify parameters by their order in the groups, which is the order of the names.
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
            if entry is not None:  # None: the parameter never had a gradient
                at = ("optimizer_states", index, "state", place)
                state[number] = {key: _like(parameter, stored.pieces(*at, key), f"{key} of {name}") for key in entry}
    optimizer.load_state_dict({"state": state, "param_groups": numbered})


def _like(parameter: nn.Parameter, pieces: list[Tensor], name: str) -> Tensor:
    """A tensor of the optimizer's state, sharded like its parameter; the step count as it is."""
    if pieces[0].dim() == 0:
        return pieces[0].clone()
    value = torch.empty_like(parameter, dtype=pieces[0].dtype)
    fill(value, pieces, name)
    return value
