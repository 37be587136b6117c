"""Table of the memory plans of all stages (`python -m genie.plan_memory`), and the published training.

Published training: Genie (arXiv 2402.15391) §3 and appendix C. The sizes of the layers are in conf/model/paper.yaml.
Tokens fit exactly: 125,000 steps of 512 clips of 16 frames of 23 x 40 tokens (160x90 in patches of 4, the last row
padded) are 942.08e9. The rest does not:

- 6.6e22 FLOPs for 942e9 tokens are 7.0e10 a token, that is 6 for each of 11.7e9 parameters. 10.1e9 parameters take
  5.7e22 by that rule, and attention adds some 2%; with all blocks recomputed in the backward pass it would be 7.6e22.
- 48 layers of width 5120 with 36 heads of 128 have 9.6e9 parameters where a block of two attention layers and one
  feed-forward counts for two layers, and 19e9 where it counts for one; 36 x 128 is not 5120.
- 200e6 + 300e6 + 10.1e9 parameters are 10.6e9; the paper says 10.7e9, and speaks of 11e9.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genie.common.cli import resolved
from genie.common.errors import UserError
from genie.common.files import replacing
from genie.common.folder_lock import require_writable
from genie.common.tables import print_table, short, size
from genie.publishing import report_page
from genie.stages import GENIE_STAGES
from genie.training.memory_plan.plan import StagePlan, plan_stage

PAPER = "paper"  # the preset whose training was published, with its numbers:
PARAMETERS = {"tokenizer": 200e6, "lam": 300e6, "dynamics": 10.1e9}
WORLD_PARAMETERS = 10.7e9
TOKENS = 942e9
FLOPS = 6.6e22

Row = tuple[str, Callable[[StagePlan], str]]


def plan(config: dict[str, Any], overrides: list[str]) -> list[StagePlan]:
    """Prints the plans of all stages, or of the one in `overrides`, with which `config` was composed, and writes
    `config["json"]`. Raises UserError for what has no plan."""
    check(config)
    if config["stage"]["name"] not in GENIE_STAGES:
        choices = ", ".join(GENIE_STAGES)
        raise UserError(f"there is no plan for stage={config['stage']['name']}: choose one of {choices}")
    given = [override for override in overrides if not override.startswith("stage=")]
    configs = {stage: resolved("plan_memory", [*given, f"stage={stage}"]) for stage in GENIE_STAGES}
    wanted = [config["stage"]["name"]] if len(given) < len(overrides) else list(GENIE_STAGES)
    batch_given = any(override.startswith("data.batch_size=") for override in given)
    plans = [plan_stage(configs[stage], configs, batch_given) for stage in wanted]
    console = Console()
    console.print(title(plans, config), soft_wrap=True, highlight=False, markup=False)
    print_table(table(plans, config))
    lines = [*remarks(plans), *(comparison(plans) if config["model"]["name"] == PAPER else [])]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if config["json"] is not None:
        write(Path(config["json"]), plans, config)
    return plans


def check(config: dict[str, Any]) -> None:
    """Raises UserError for a file that cannot be written."""
    if config["json"] is not None:
        if Path(config["json"]).is_dir():
            raise UserError(f"json={config['json']} is a folder: give the name of a file")
        require_writable(config["json"], "json=")


def write(path: Path, plans: list[StagePlan], config: dict[str, Any]) -> None:
    """The plans as numbers (bytes, operations, seconds), by stage, and the device they are for."""
    content = {"hardware": config["hardware"], "stages": {plan.stage: plan.numbers() for plan in plans}}
    try:
        with replacing(path, "w") as file:
            json.dump(content, file, indent=2)
    except OSError as error:
        raise UserError(f"cannot write json={path} ({error.strerror or error})") from error


def title(plans: list[StagePlan], config: dict[str, Any]) -> str:
    layout = plans[0].layout
    gathered = f", gathered in {layout.gathered}" if layout.gathered != layout.parameters else ""
    return (
        f"model={config['model']['name']}: {layout.strategy}, {layout.devices} x {config['hardware']['name']}, "
        f"parameters {layout.parameters}{gathered}, products {layout.products}"
    )


def table(plans: list[StagePlan], config: dict[str, Any]) -> Table:
    """By stage the bytes of one device, and operations and time of all devices."""
    device, drawn = config["hardware"], Table()
    drawn.add_column("")
    for plan in plans:
        drawn.add_column(plan.stage, justify="right")
    model: list[Row] = [
        ("parameters", lambda plan: count(plan.parameters)),
        ("clips on a device", lambda plan: str(plan.batch.clips)),
        ("clips of a step", lambda plan: f"{plan.batch.step:,}"),
    ]
    for rows in (model, of_memory(plans, device["memory_gib"]), of_work(plans, device["utilization"])):
        for label, value in rows:
            drawn.add_row(label, *(value(plan) for plan in plans))
        drawn.add_section()
    return drawn


def of_memory(plans: list[StagePlan], gibibytes: float) -> list[Row]:
    """Bytes on a device, without the rows that are 0 for all stages."""
    other = "without" if plans[0].layout.checkpointing else "with"
    parts = {
        "parameters": "parameters",
        "gradients": "gradients",
        "optimiser state": "optimizer",
        "moving average": "average",
        "gathered blocks": "gathered",
        "frozen stages, buffers": "frozen",
        "activations": "activations",
    }
    rows: list[Row] = [
        (label, lambda plan, name=name: size(getattr(plan.memory, name)))
        for label, name in parts.items()
        if any(getattr(plan.memory, name) for plan in plans)
    ]
    if any(plan.memory.copies for plan in plans):
        rows.append(("(of them copies of weights)", lambda plan: size(plan.memory.copies)))
    rows.append(("total on a device", lambda plan: size(plan.memory.total)))
    rows.append((f"of {gibibytes:g} GiB", lambda plan: "fits" if plan.fits else "too much"))
    rows.append((f"({other} activation checkpointing)", lambda plan: size(plan.other_total)))
    if any(plan.memory.host for plan in plans):
        rows.append(("host memory for a device", lambda plan: size(plan.memory.host)))
    return rows


def of_work(plans: list[StagePlan], utilization: float) -> list[Row]:
    rows: list[Row] = [("FLOPs of a step", lambda plan: power(plan.work.step))]
    if plans[0].layout.checkpointing:
        rows.append(("with blocks done again", lambda plan: power(plan.work.executed)))
    return [
        *rows,
        ("steps", lambda plan: f"{plan.steps:,}"),
        ("FLOPs of the training", lambda plan: power(plan.work.training)),
        ("tokens", lambda plan: power(plan.work.tokens)),
        (f"time at {100 * utilization:g}% of the peak", lambda plan: duration(plan.work.seconds)),
    ]


def remarks(plans: list[StagePlan]) -> Iterator[str]:
    """Differences from the recipe, and what the numbers of the table leave out."""
    for plan in plans:
        batch = plan.batch
        if batch.step != batch.wanted:
            devices = f"{batch.devices} devices" + (f" x {batch.accumulate} batches" if batch.accumulate > 1 else "")
            yield f"{plan.stage}: {batch.clips} clips x {devices} make {batch.step:,}, the recipe has {batch.wanted:,}"
    for plan in plans:
        if not plan.batch.given and plan.batch.clips != plan.batch.wanted:
            yield f"{plan.stage}: genie.train takes the clips of a device with data.batch_size={plan.batch.clips}"
    if plans[0].layout.strategy == "fsdp" and any(plan.memory.copies for plan in plans):
        yield "Copies of weights: autocast makes them of all blocks; trainer.gather_precision=bf16 does without."
    yield "Not counted: temporary results of single operations, the device's own libraries, fragmentation."


def comparison(plans: list[StagePlan]) -> Iterator[str]:
    """One line for each published number beside the one that is counted here."""
    yield "The paper (arXiv 2402.15391) and this plan:"
    for plan in plans:
        if plan.stage in PARAMETERS:
            yield f"  {plan.stage}: {count(PARAMETERS[plan.stage])} parameters, here {count(plan.parameters)}"
    dynamics = next((plan for plan in plans if plan.stage == "dynamics"), None)
    if dynamics is None:
        return
    tokens, flops = dynamics.work.tokens, dynamics.work.training
    by_rule = 6 * PARAMETERS["dynamics"] * TOKENS
    yield f"  dynamics: {power(TOKENS)} tokens, here {power(tokens)} ({tokens:,})"
    yield (
        f"  dynamics: {power(FLOPS)} FLOPs, here {power(flops)}; 6 x parameters x tokens of the paper's own "
        f"numbers are {power(by_rule)}, and {power(FLOPS)} would be "
        f"{count(FLOPS / TOKENS / 6)} parameters"
    )
    parts = sum(PARAMETERS.values())
    yield f"  all: {count(WORLD_PARAMETERS)} parameters, while its parts are {count(parts)}"


def duration(seconds: float) -> str:
    """546141 -> "6.32 days", 3725 -> "1 h 02 min"."""
    days = seconds / 86_400
    return f"{days:.3g} days" if days >= 2 else report_page.duration(seconds)


def count(value: float) -> str:
    """9577000000 -> "9.58 G"."""
    return short(value, 1000, ("", " k", " M", " G", " T"))


def power(value: float) -> str:
    """5.7e22 as it is written in papers."""
    return f"{value:.3g}".replace("e+", "e")
