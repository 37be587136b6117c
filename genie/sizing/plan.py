"""The plan of one stage: memory, work and time, from the configurations of the stage and of those that it needs."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from genie.sizing.kept import encoding_flops, kept_by
from genie.sizing.layout import Layout, layout_of
from genie.sizing.memory import Memory, memory_of
from genie.sizing.work import Batch, Work, batch_of, work_of
from genie.stages import new_stage, stage_type

GIBIBYTE = 2**30


@dataclass(frozen=True)
class StagePlan:
    """What a stage takes. `parameters`: of the trained part; `steps` of the optimiser."""

    stage: str
    parameters: int
    steps: int
    layout: Layout
    batch: Batch
    memory: Memory
    work: Work
    fits: bool

    @property
    def other_total(self) -> int:
        """Bytes in all on a device with activation checkpointing where the layout has none, and the other way round."""
        memory = self.memory
        return memory.total - memory.activations + memory.everything + memory.recomputed - memory.activations

    def numbers(self) -> dict[str, Any]:
        """All of it as plain containers, with the sums."""
        numbers = asdict(self)
        numbers["memory"]["total"] = self.memory.total
        numbers["batch"]["step"] = self.batch.step
        return numbers


def plan_stage(config: dict[str, Any], others: dict[str, dict[str, Any]], batch_given: bool) -> StagePlan:
    """The plan of a resolved configuration of plan_memory; `others`: those of the same command for the other stages.

    Raises UserError for a configuration that cannot be trained or has no plan.
    """
    layout, device, name = layout_of(config), config["hardware"], config["stage"]["name"]
    batch = batch_of(config, layout.devices, layout.accumulate, batch_given)
    needed = [others[part] | {"data": config["data"]} for part in stage_type(config).needs(config)]
    with torch.device("meta"):
        stage = new_stage(config)
        frozen = [new_stage(part).model for part in needed]
    kept = kept_by(config, batch.clips, layout)
    memory = memory_of(stage, frozen, kept, layout)
    speed = device["flops"] * device["utilization"] * layout.devices
    encoding = sum(encoding_flops(part, batch.clips) for part in needed)
    work = work_of(config, batch, stage.tokens_per_frame, kept.flops, encoding, layout.checkpointing, speed)
    return StagePlan(
        stage=name,
        parameters=sum(parameter.numel() for parameter in stage.trained().parameters()),
        steps=config["trainer"]["max_steps"],
        layout=layout,
        batch=batch,
        memory=memory,
        work=work,
        fits=memory.total <= device["memory_gib"] * GIBIBYTE,
    )
