"""Muon for hidden matrices and AdamW for everything else, in one optimiser.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon: a step is the orthogonal matrix nearest to the momentum,
so that it moves all directions of a matrix alike, the rare ones too. Its scale is Moonshot's (arXiv 2502.16982 §2.2):
entries of the size of AdamW's at the same learning rate, whatever the shape. PyTorch's own `torch.optim.Muon` takes the
iteration in bf16 everywhere, which CPUs without bf16 emulate, and does not know of sharded weights.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.common.device import has_bf16
from genie.common.ranks import own_rows

# The quintic of Jordan et al.: singular values of at most 1 come to 0.7 … 1.2 in five steps; it need not converge.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LIKE_ADAMW = 0.2  # root mean square of AdamW's steps over the learning rate


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the parameter groups that have a `momentum`, AdamW for the others.

    A weight of more than two axes counts as a matrix [R, -1]. Of sharded weights every rank gathers one momentum after
    the other and computes its own rows of the step from the whole, so a step is that of one process.

    Args:
        groups: of AdamW with `lr`, `betas`, `eps` and `weight_decay`. Of Muon with
            lr: the root mean square of a step is 0.2 of it.
            momentum: of the mean of the gradients, with Nesterov's look ahead.
            steps: of Newton-Schulz.
            matrices: the number of matrices of equal height in a weight, each made orthogonal by itself.
            bf16: take the iteration in bf16 on devices that have it; otherwise in fp32.
            weight_decay: as AdamW's.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})
        self._adamw = torch.optim.AdamW([dict(group) for group in self._of_adamw()])
        for group, complete in zip(self._of_adamw(), self._adamw.param_groups, strict=True):
            group |= {name: value for name, value in complete.items() if name not in group}

    def _of_adamw(self) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if "momentum" not in group]

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._adamw.param_groups, self._adamw.state = self._of_adamw(), self.state
        self._adamw.step()
        for group in self.param_groups:
            for parameter in group["params"] if "momentum" in group else ():
                if parameter.grad is not None:
                    self._step_of(parameter, group)
        return loss

    def _step_of(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
        change = parameter.grad.lerp(mean, group["momentum"])
        sharded = isinstance(change, DTensor)
        change = change.full_tensor() if sharded else change
        matrices = change.flatten(1).unflatten(0, (group["matrices"], -1))  # [matrices, R, C]
        bf16 = group["bf16"] and has_bf16(change.device.type)
        change = orthogonalize(matrices, group["steps"], bf16).reshape(change.shape)
        own, change = (parameter.to_local(), change[own_rows(parameter)]) if sharded else (parameter, change)
        own.mul_(1 - group["lr"] * group["weight_decay"])
        own.add_(change, alpha=-group["lr"] * LIKE_ADAMW * math.sqrt(max(matrices.shape[1:])))


def orthogonalize(matrices: Tensor, steps: int, bf16: bool = False) -> Tensor:
    """The matrices [B, R, C] with their singular values brought close to 1, by `steps` of Newton-Schulz.

    In fp32, or in bf16 with `bf16`. A matrix of zeros stays one.
    """
    x = matrices.bfloat16() if bf16 else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)  # no singular value is above the norm
    first, third, fifth = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.mT if tall else x
