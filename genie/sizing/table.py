"""The plans of stages as one table, a column for each stage, and what has to be said about it."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table

from genie.common.tables import short, size
from genie.publishing import report_page
from genie.sizing.plan import StagePlan

Row = tuple[str, Callable[[StagePlan], str]]


def title(plans: list[StagePlan], config: dict[str, Any]) -> str:
    """What is planned, on which devices and in which types."""
    layout = plans[0].layout
    gathered = f", gathered in {layout.gathered}" if layout.gathered != layout.parameters else ""
    return (
        f"model={config['model']['name']}: {layout.strategy}, {layout.devices} x {config['hardware']['name']}, "
        f"parameters {layout.parameters}{gathered}, products {layout.products}"
    )


def table(plans: list[StagePlan], config: dict[str, Any]) -> Table:
    """What each stage takes: bytes of one device, operations and time of all."""
    device, drawn = config["hardware"], Table()
    drawn.add_column("")
    for plan in plans:
        drawn.add_column(plan.stage, justify="right")
    for rows in (of_model(), of_memory(plans, device["memory_gib"]), of_work(plans, device["utilization"])):
        for label, value in rows:
            drawn.add_row(label, *(value(plan) for plan in plans))
        drawn.add_section()
    return drawn


def of_model() -> list[Row]:
    """Parameters and clips."""
    return [
        ("parameters", lambda plan: count(plan.parameters)),
        ("clips on a device", lambda plan: str(plan.batch.clips)),
        ("clips of a step", lambda plan: f"{plan.batch.step:,}"),
    ]


def of_memory(plans: list[StagePlan], gibibytes: float) -> list[Row]:
    """Bytes on a device; what no stage has is left out."""
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
    """Operations, tokens and time."""
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
    """What the user has to know to get what the table says."""
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
