"""Optimiser, its parameter groups and the learning-rate schedules.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) is for the hidden matrices of a network, with AdamW
for all else. A step is the orthogonal matrix nearest to the momentum, so that it moves all directions of a matrix
alike, the rare ones too. Its scale is Moonshot's (arXiv 2502.16982 §2.2): entries of the size of AdamW's at the same
learning rate, whatever the shape. PyTorch's own `torch.optim.Muon` takes the iteration in bf16 everywhere, which CPUs
without bf16 emulate.

Parameters come with their names, which the optimiser's state then carries.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from genie.common.device import has_bf16
from genie.common.errors import UserError
from genie.distributed.sharding import own_rows
from genie.distributed.strategy import chosen_precision
from genie.models.attention import SelfAttention
from genie.models.st_transformer import Backbone, FeatureModulation

OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "wsd", "constant")
# The quintic of Jordan et al.: singular values of at most 1 come to 0.7 … 1.2 in five steps; it need not converge.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LIKE_ADAMW = 0.2  # root mean square of AdamW's steps over the learning rate


def parameter_groups(model: nn.Module, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups that the group `optimizer` of a resolved configuration describes, those of AdamW first.

    Raises UserError for an unknown name, and for Muon where the stage has no hidden matrices.
    """
    optimizer = config["optimizer"]
    if optimizer["name"] not in OPTIMIZERS:
        raise UserError(f"optimizer.name={optimizer['name']}: choose one of {', '.join(OPTIMIZERS)}")
    options = {"lr": optimizer["lr"], "betas": tuple(optimizer["betas"]), "eps": optimizer["eps"]}
    groups = [group | options for group in decay_groups(model, optimizer["weight_decay"])]
    if optimizer["name"] == "adamw":
        return groups
    hidden = hidden_matrices(model)
    if not hidden:
        stage = config["stage"]["name"]
        raise UserError(f"optimizer=muon: stage={stage} trains no blocks whose matrices it is for: use optimizer=adamw")
    named = [item for group in groups for item in group["params"]]
    for group in groups:
        group["params"] = [(name, parameter) for name, parameter in group["params"] if name not in hidden]
    options = {
        "lr": optimizer["muon_lr"],
        "weight_decay": optimizer["weight_decay"],
        "momentum": optimizer["momentum"],
        "steps": optimizer["newton_schulz_steps"],
        "bf16": chosen_precision(config["trainer"]).startswith("bf16"),
    }
    for matrices in sorted(set(hidden.values())):
        params = [(name, parameter) for name, parameter in named if hidden.get(name) == matrices]
        groups.append({"params": params, "matrices": matrices, **options})
    return groups


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: matrices decay; norms, biases, embeddings, position tables and codebooks do not."""
    decay, keep = [], []
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            matrix = isinstance(module, nn.Linear | nn.Conv2d) and name == "weight"
            (decay if matrix else keep).append((f"{module_name}.{name}".lstrip("."), parameter))
    return [{"params": decay, "weight_decay": weight_decay}, {"params": keep, "weight_decay": 0.0}]


def hidden_matrices(model: nn.Module) -> dict[str, int]:
    """The weights of the blocks of all backbones that map hidden states to hidden states, by name, each with the number
    of matrices that it holds: three for that of queries, keys and values.

    Without those that condition a block (FiLM), which start at zero and do not map hidden states.
    """
    found = {}
    for path, backbone in model.named_modules():
        if not isinstance(backbone, Backbone):
            continue
        blocks, modules = f"{path}.blocks".lstrip("."), dict(backbone.blocks.named_modules())
        left_out = tuple(f"{name}." for name, module in modules.items() if isinstance(module, FeatureModulation))
        for name, module in modules.items():
            if isinstance(module, nn.Linear | nn.Conv2d) and not name.startswith(left_out):
                fused = name.endswith(".qkv") and isinstance(modules[name.removesuffix(".qkv")], SelfAttention)
                found[f"{blocks}.{name}.weight"] = 3 if fused else 1
    return found


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


def schedule_factor(
    name: str,
    max_steps: int,
    warmup_steps: int = 0,
    min_factor: float = 0.0,
    decay_steps: int | None = None,
    decay_share: float = 0.0,
) -> Callable[[int], float]:
    """Factor of the learning rate at optimiser step n (0 … max_steps).

    All rise linearly over `warmup_steps`. "cosine" then falls to `min_factor` at `max_steps`; "wsd" (warm-up,
    stable, decay; arXiv 2404.06395) stays at 1, so that a run can be lengthened, and falls linearly over the last
    `decay_steps` (None: over `decay_share` of the run, at most all steps after the warm-up); "constant" stays at 1.

    Raises UserError for an unknown name, a warm-up and decay longer than the run, or a smallest rate above the
    largest.
    """
    if name not in SCHEDULES:
        raise UserError(f"schedule.name={name!r}: choose one of {', '.join(SCHEDULES)}")
    if decay_steps is None:
        if isinstance(decay_share, bool) or not isinstance(decay_share, int | float) or not 0 <= decay_share <= 1:
            raise UserError(f"schedule.decay_share={decay_share} must be a number from 0 to 1")
        decay_steps = min(round(decay_share * max_steps), max(0, max_steps - warmup_steps))
    elif isinstance(decay_steps, bool) or not isinstance(decay_steps, int) or decay_steps < 0:
        raise UserError(f"schedule.decay_steps={decay_steps} must be a whole number, at least 0; null: by decay_share")
    decay = {"cosine": max(0, max_steps - warmup_steps), "wsd": decay_steps, "constant": 0}[name]
    if warmup_steps + decay > max_steps:
        parts = f"schedule.warmup_steps={warmup_steps}" + (f" and schedule.decay_steps={decay}" if decay else "")
        raise UserError(f"{parts} do not fit into trainer.max_steps={max_steps}: lower them, or take more steps")
    if min_factor > 1:
        raise UserError(
            f"schedule.min_lr is {min_factor:.3g} times optimizer.lr: lower it, or give a larger optimizer.lr"
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, max(0.0, (step - (max_steps - decay)) / decay)) if decay else 0.0
        fall = 0.5 * (1 + math.cos(math.pi * done)) if name == "cosine" else 1.0 - done
        return min_factor + (1 - min_factor) * fall

    return factor
