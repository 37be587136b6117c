"""Optimizers with offloaded state, and the norm of distributed gradients.

With `optimizer.cpu_offload=true` the optimizer's state is in main memory, for GPUs that cannot hold it. With FSDP the
shards themselves are in main memory (`genie.distributed.sharding.shard`), and the plain optimizer works on them there.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.distributed.muon import MuonWithAdamW


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, fp32, the same on all ranks.

    Squares are summed in fp64, so that the rounded result, and with it the clipping, does not depend on the sharding.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    device = (sharded[0].to_local() if sharded else whole[0]).device if gradients else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for gradient in sharded:
        total += _sum_of_squares(gradient.to_local())
    if sharded:
        dist.all_reduce(total, group=sharded[0].device_mesh.get_group())
    for gradient in whole:
        total += _sum_of_squares(gradient).to(total.device)
    return total.sqrt().float()


def _sum_of_squares(gradient: Tensor) -> Tensor:
    return torch.linalg.vector_norm(gradient, dtype=torch.float64).square()


@torch.no_grad()
def clip_by_norm(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scales all gradients so that their norm is at most `largest`."""
    parameters = list(parameters)
    scale = (largest / (gradient_norm(parameters) + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        if parameter.grad is not None:
            gradient = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
            gradient.mul_(scale.to(gradient.device))


class Offloaded(torch.optim.Optimizer):
    """An optimizer `worker_type` whose state, in fp32, and arithmetic are on the CPU.

    A step copies weights and gradients to the CPU and the new weights back. Only the worker's state is kept between
    steps, and it is saved in the worker's format, so that checkpoints are interchangeable. Not yet run on a GPU.
    """

    worker_type: type[torch.optim.Optimizer]

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups)
        twins = [
            [nn.Parameter(torch.empty(p.shape, dtype=torch.float32, pin_memory=p.is_cuda)) for p in group["params"]]
            for group in self.param_groups
        ]
        pairs = zip(self.param_groups, twins, strict=True)
        self.worker = self.worker_type([{**group, "params": params} for group, params in pairs])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = []
        for group, worker in zip(self.param_groups, self.worker.param_groups, strict=True):
            worker |= {name: value for name, value in group.items() if name != "params"}
            pairs += zip(group["params"], worker["params"], strict=True)
        for parameter, twin in pairs:
            twin.copy_(parameter)
            twin.grad = None if parameter.grad is None else parameter.grad.to(twin)
        self.worker.step()
        for parameter, twin in pairs:
            parameter.copy_(twin)
            twin.grad = None
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.worker.state_dict()["state"], "param_groups": super().state_dict()["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.worker.load_state_dict(state_dict)
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})


class OffloadedAdamW(Offloaded, torch.optim.AdamW):
    worker_type = torch.optim.AdamW


class OffloadedMuon(Offloaded, MuonWithAdamW):
    worker_type = MuonWithAdamW


def build_optimizer(
    groups: list[dict[str, Any]], cpu_offload: bool, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW for groups of named parameters, or Muon with AdamW where a group has a `momentum`.

    `cpu_offload`: keeps the state in main memory. `fused`: AdamW in one kernel; None: on a GPU.
    """
    muon = any("momentum" in group for group in groups)
    sharded = any(isinstance(parameter, DTensor) for group in groups for _, parameter in group["params"])
    if cpu_offload and not sharded:
        return OffloadedMuon(groups) if muon else OffloadedAdamW(groups)
    if muon:
        return MuonWithAdamW(groups)
    if fused is None:
        fused = all(parameter.is_cuda for group in groups for _, parameter in group["params"])
    chosen = fused or None  # None: torch chooses among the others
    optimizer = torch.optim.AdamW(groups, fused=chosen)

    def keep(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:  # a checkpoint has that of the device it was trained on
            group["fused"] = chosen

    optimizer.register_load_state_dict_post_hook(keep)
    return optimizer
