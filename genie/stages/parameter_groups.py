"""Which parameters the optimiser moves in which way: the groups that AdamW and Muon get.

Parameters come with their names, which the optimiser's state then carries.
"""

from typing import Any

from torch import nn

from genie.common.errors import UserError
from genie.distributed.strategy import chosen_precision
from genie.models.attention import SelfAttention
from genie.models.st_transformer import Backbone, FeatureModulation

OPTIMIZERS = ("adamw", "muon")


def parameter_groups(model: nn.Module, config: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups that the group `optimizer` of a resolved configuration describes, those of AdamW first.

    Raises UserError for another name than those of `OPTIMIZERS`, and where Muon has nothing to do.
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
    """The weights of the blocks of all backbones that map hidden states to hidden states, by name: in how many matrices
    each of them is to be cut. That of queries, keys and values in three.

    Not what conditions a block (FiLM): it begins at zero and means no map of hidden states.
    """
    found = {}
    for path, backbone in model.named_modules():
        if not isinstance(backbone, Backbone):
            continue
        blocks = f"{path}.blocks".lstrip(".")
        left_out = [name for name, module in backbone.blocks.named_modules() if isinstance(module, FeatureModulation)]
        fused = {f"{name}.qkv" for name, module in backbone.blocks.named_modules() if isinstance(module, SelfAttention)}
        for name, module in backbone.blocks.named_modules():
            inside = any(name.startswith(f"{other}.") for other in left_out)
            if isinstance(module, nn.Linear | nn.Conv2d) and not inside:
                found[f"{blocks}.{name}.weight"] = 3 if name in fused else 1
    return found
