"""AdamW that keeps its moments in main memory (optimizer.cpu_offload=true), for GPUs that do not hold them too.

With FSDP the shards themselves are in main memory, and plain AdamW works on them there (`genie.parallel.plan.shard`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class OffloadedAdamW(torch.optim.AdamW):
    """AdamW whose state is in main memory, in fp32, where its arithmetic is done as well.

    A step brings weights and gradients to the CPU and the new weights back. Nothing but the state of AdamW is kept
    between steps, and it is saved in the form of AdamW, so a checkpoint goes on with either. Not run on a GPU so far.
    """

    def __init__(self, groups: list[dict[str, Any]], **options: Any) -> None:
        super().__init__(groups, **options)
        twins = [[self._twin(parameter) for parameter in group["params"]] for group in self.param_groups]
        pairs = zip(self.param_groups, twins, strict=True)
        self.worker = torch.optim.AdamW([{**group, "params": params} for group, params in pairs])

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


def build_adamw(groups: list[dict[str, Any]], cpu_offload: bool, **options: Any) -> torch.optim.AdamW:
    """AdamW for parameter groups with named parameters; `cpu_offload`: with its state in main memory."""
    sharded = any(isinstance(parameter, DTensor) for group in groups for _, parameter in group["params"])
    return (OffloadedAdamW if cpu_offload and not sharded else torch.optim.AdamW)(groups, **options)
