"""Training stages, by the name that `stage=` takes."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from data_modules.clip_data_module import ClipDataModule
from genie.common.errors import UserError
from genie.distributed.sharding import parameters_on_meta
from genie.distributed.strategy import SHARDED
from genie.models.building import GENIE_STAGES
from genie.stages.base import Stage
from genie.stages.cotrain import CotrainStage
from genie.stages.delta import DeltaStage
from genie.stages.dynamics import DynamicsStage
from genie.stages.lam import LatentActionStage
from genie.stages.policy import PolicyStage
from genie.stages.reward import RewardStage
from genie.stages.rssm import RssmStage
from genie.stages.simulator import SimulatorStage
from genie.stages.tokenizer import TokenizerStage

STAGES: dict[str, type[Stage]] = {
    "tokenizer": TokenizerStage,
    "lam": LatentActionStage,
    "dynamics": DynamicsStage,
    "cotrain": CotrainStage,
    "simulator": SimulatorStage,  # the base class of `SIMULATORS`
    "reward": RewardStage,
    "policy": PolicyStage,
}
SIMULATORS: dict[str, type[SimulatorStage]] = {"rssm": RssmStage, "delta": DeltaStage}


def complete(config: dict[str, Any], data: Callable[[], ClipDataModule]) -> Any:
    """Fills in what the stage of a resolved configuration takes from the data (`data()` opens them) or from earlier
    stages; returns what `Stage.complete` opened of these.

    A stage that learns recorded actions keeps their names, and how numbers became them: all data that it sees later are
    read by these.
    """
    kind = stage_type(config)
    added, opened = kind.complete(config, data)
    for group, values in added.items():
        config[group] |= values
    if kind.learns_recorded_actions(config):
        config["data"]["actions"] = (config["data"].get("actions") or {}) | data().info.action_options
    return opened


def build_stage(config: dict[str, Any]) -> Stage:
    """The stage of a resolved configuration, freshly initialised from its seed.

    The parameters of a stage that is to be sharded have no values yet: the strategy gives each rank its own.
    """
    sharded = config["trainer"]["strategy"] == SHARDED
    with parameters_on_meta() if sharded else nullcontext():
        stage = new_stage(config)
    stage.learning_rate_factor()  # an invalid schedule or optimiser is reported before any work
    stage.optimizer_groups()
    stage.check_clip_length()
    if not sharded:
        stage.initialize()
    return stage


def stage_type(config: dict[str, Any]) -> type[Stage]:
    """The class of the stage of a configuration. UserError for an unknown name."""
    name = config["stage"]["name"]
    if name not in tuple(STAGES):  # not the dict: a list is unhashable
        raise UserError(f"unknown stage {name!r}: choose one of {', '.join(STAGES)}")
    return SIMULATORS[config["simulator"]["kind"]] if name == "simulator" else STAGES[name]


def new_stage(config: dict[str, Any]) -> Stage:
    """The stage of a configuration without initial weights: for its shapes, or for weights that are loaded."""
    return stage_type(config)(config)


__all__ = ["GENIE_STAGES", "STAGES", "Stage", "build_stage", "complete", "new_stage", "stage_type"]
