"""Parameter groups of a stage's optimiser, and learning-rate schedules.

Muon (`genie.distributed.muon`) is for the hidden matrices of a network, AdamW for everything else. Parameters come with
their names, which the optimiser's state then carries.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from genie.common.errors import UserError
from genie.distributed.strategy import chosen_precision
from genie.models.attention import SelfAttention
from genie.models.st_transformer import Backbone, FeatureModulation


def parameter_groups(model: nn.Module, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups that the group `optimizer` of a resolved configuration describes, those of AdamW first.

    Raises UserError for Muon where the stage has no hidden matrices.
    """
    optimizer = config["optimizer"]
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

    Raises UserError for a warm-up and decay longer than the run, or a smallest rate above the largest.
    """
    rest = max(0, max_steps - warmup_steps)
    if name == "wsd" and decay_steps is None:
        decay_steps = min(round(decay_share * max_steps), rest)
    decay = {"cosine": rest, "wsd": decay_steps, "constant": 0}[name]
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
