"""What is told of each variant: its size and cost, and what the evaluation of its worlds has found."""

import statistics
from typing import Any

import torch

from genie.ablation.measured import read_cost
from genie.ablation.plan import World
from genie.evaluation.provenance import evaluated
from genie.stages import new_stage


def figures_of(world: World, compares: str, columns: dict[str, str], failed: bool = False) -> dict[str, float | None]:
    """The figures of one trained and evaluated world, None for what was not measured.

    Parameters and peak memory are those of the stage `compares`, minutes those of all its stages together. `columns`:
    {heading: path in evaluation.json}, as in {"FVD": "fvd.value"}. Of a world that has `failed`, nothing is known.
    """
    if failed:
        return dict.fromkeys(("parameters (M)", "peak memory (MB)", *columns, "minutes"))
    costs = {stage: read_cost(job.folder.path / "cost.json") for stage, job in world.jobs.items()}
    seconds = [cost["seconds"] for cost in costs.values() if cost]
    report = evaluated(world.path / "evaluation" / "evaluation.json")
    return {
        "parameters (M)": num_parameters(world.jobs[compares].config) / 1e6,
        "peak memory (MB)": costs[compares].get("peak_mb"),
        **{heading: report.get(path) for heading, path in columns.items()},
        "minutes": sum(seconds) / 60 if len(seconds) == len(costs) else None,
    }


def num_parameters(config: dict[str, Any]) -> int:
    """Of all parts that a training of this configuration trains."""
    with torch.device("meta"):
        stage = new_stage(config)
    return sum(parameter.numel() for part in stage.parts().values() for parameter in part.parameters())


def summary(measured: list[tuple[World, dict[str, float | None]]]) -> dict[str, Any]:
    """By variant: the folders of its `worlds` by seed, and of every figure the `mean` and standard deviation (`spread`,
    None for one seed) over seeds, and the `values`. A figure that one of the seeds lacks has no mean."""
    variants: dict[str, Any] = {}
    for world, figures in measured:
        entry = variants.setdefault(world.variant, {"worlds": {}, "figures": {}})
        entry["worlds"][str(world.seed)] = str(world.path)
        for heading, value in figures.items():
            entry["figures"].setdefault(heading, {"values": []})["values"].append(value)
    for entry in variants.values():
        for figure in entry["figures"].values():
            values = figure["values"]
            known = None not in values
            figure["mean"] = statistics.fmean(values) if known else None
            figure["spread"] = statistics.stdev(values) if known and len(values) > 1 else None
    return variants
