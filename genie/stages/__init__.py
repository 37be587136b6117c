"""The training stages, by the name that `stage=` takes."""

from typing import Any

from genie.errors import UserError
from genie.stages.base import Stage
from genie.stages.cotrain import CotrainStage
from genie.stages.dynamics import DynamicsStage
from genie.stages.lam import LatentActionStage
from genie.stages.tokenizer import TokenizerStage

STAGES: dict[str, type[Stage]] = {
    "tokenizer": TokenizerStage,
    "lam": LatentActionStage,
    "dynamics": DynamicsStage,
    "cotrain": CotrainStage,
}


def build_stage(config: dict[str, Any]) -> Stage:
    """The stage of a resolved configuration, freshly initialised from its seed."""
    from genie.models.initialization import initialize

    name = config["stage"]["name"]
    if name not in STAGES:
        raise UserError(f"unknown stage {name!r}: choose one of {', '.join(STAGES)}")
    stage = STAGES[name](config)
    stage.learning_rate_factor()  # a schedule that does not fit is told before any work
    for part in stage.parts().values():
        initialize(part, config["seed"])
    return stage


__all__ = ["STAGES", "Stage", "build_stage"]
