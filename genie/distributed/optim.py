"""Optimiser offload and the norm of distributed gradients.

The norm of all gradients where several processes train one model, each with all of them or with its shards.

Optimisers with their state in main memory (optimizer.cpu_offload=true), for GPUs that do not hold it too.

With FSDP the shards themselves are in main memory, and the plain optimiser works on them there
(`genie.distributed.sharding.shard`).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.stages.optimization import MuonWithAdamW


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients taken together, fp32, the same on all ranks.

    Squares are summed in fp64: however the gradients are cut, the rounded result is one and the same, and with it what
    sharded and unsharded training clip to.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    device = (sharded[0].to_local() if sharded else whole[0]).device if gradients else None
    total = torch.zeros((), dtype=torch.float64, device=device)
    for gradient in sharded:
        total += squares(gradient.to_local())
    if sharded:
        dist.all_reduce(total, group=sharded[0].device_mesh.get_group())
    for gradient in whole:
        total += squares(gradient).to(total.device)
    return total.sqrt().float()


def squares(gradient: Tensor) -> Tensor:
    """The sum of the squares, fp64."""
    return torch.linalg.vector_norm(gradient, dtype=torch.float64).square()


@torch.no_grad()
def clip_by_norm(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their norm is at most `largest`."""
    parameters = list(parameters)
    scale = (largest / (gradient_norm(parameters) + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        if parameter.grad is not None:
            gradient = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
            gradient.mul_(scale.to(gradient.device))


class Offloaded(torch.optim.Optimizer):
    """An optimiser, `worker_type`, whose state is in main memory, in fp32, where its arithmetic is done as well.

    A step brings weights and gradients to the CPU and the new weights back. Nothing but the worker's state is kept
    between steps, and it is saved in the form of the worker, so a checkpoint goes on with either. Not run on a GPU so
    far.
    """

    worker_type: type[torch.optim.Optimizer]

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups)
        twins = [[self._twin(parameter) for parameter in group["params"]] for group in self.param_groups]
        pairs = zip(self.param_groups, twins, strict=True)
        self.worker = self.worker_type([{**group, "params": params} for group, params in pairs])

    @staticmethod
    def _twin(parameter: nn.Parameter) -> nn.Parameter:
        """A parameter of that shape in main memory, from where GPUs read fast."""
        return nn.Parameter(torch.empty(parameter.shape, dtype=torch.float32, pin_memory=parameter.is_cuda))

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


def build_optimizer(groups: list[dict[str, Any]], cpu_offload: bool) -> torch.optim.Optimizer:
    """AdamW for parameter groups with named parameters, or Muon with AdamW where a group has a `momentum`.

    `cpu_offload`: with its state in main memory.
    """
    muon = any("momentum" in group for group in groups)
    sharded = any(isinstance(parameter, DTensor) for group in groups for _, parameter in group["params"])
    if cpu_offload and not sharded:
        return OffloadedMuon(groups) if muon else OffloadedAdamW(groups)
    return MuonWithAdamW(groups) if muon else torch.optim.AdamW(groups)
