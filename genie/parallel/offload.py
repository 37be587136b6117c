"""Optimisers with their state in main memory (optimizer.cpu_offload=true), for GPUs that do not hold it too.

With FSDP the shards themselves are in main memory, and the plain optimiser works on them there
(`genie.parallel.plan.shard`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.muon import MuonWithAdamW


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
