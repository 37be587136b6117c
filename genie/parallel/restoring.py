"""Sharded models and optimisers from checkpoints of any strategy and number of ranks: each rank reads its own rows."""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.common.errors import UserError
from genie.parallel.materialize import own_rows
from genie.parallel.sharded_files import ShardedFiles, SingleFile

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
